// Calls the legacy ERP as another of its customers would, with the `soap` package and the ERP's own WSDL:
//   node erp.js WSDL_URL USER PASSWORD
// Prints one JSON object: a stock level, an order and its repeat, and the code of a refusal.
const soap = require("soap");

const NAMESPACE = "urn:erp:sales:2004";

async function main([url, user, password]) {
  const erp = await soap.createClientAsync(url);
  const [{ LoginResult }] = await erp.LoginAsync({ User: user, Password: password });
  erp.addSoapHeader({ SessionHeader: { SessionId: LoginResult.SessionId } }, "", "tns", NAMESPACE);

  const [{ GetStockLevelResult }] = await erp.GetStockLevelAsync({ Articles: { ArticleRef: [{ AltRef: "42" }] } });
  const order = {
    CustRef: "node-1", CustNo: "123", OrdDate: "20040201", Curr: "EUR",
    Lines: { OrderLine: [{ AltRef: "42", Qty: "000000002", UnitPrc: "000004900" }] },
  };
  const [first] = await erp.CreateSalesOrderAsync(order);
  const [again] = await erp.CreateSalesOrderAsync(order);
  let refusal = "";
  try {
    await erp.GetShipmentStatusAsync({ CustRef: "nobody" });
  } catch (fault) {
    refusal = fault.root.Envelope.Body.Fault.detail.ErpError.Code;
  }
  console.log(JSON.stringify({
    stock: GetStockLevelResult.StockLine[0],
    order: first.CreateSalesOrderResult,
    again: again.CreateSalesOrderResult,
    refusal,
  }));
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error.message ?? error);
  process.exit(1);
});
