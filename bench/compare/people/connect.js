const url = "http://127.0.0.1:8000/shop.catalog.v1.CatalogService/GetProducts";
const headers = { "Content-Type": "application/json" };
const answer = await fetch(url, { method: "POST", headers, body: JSON.stringify({ ids: ["42"] }) });
console.log((await answer.json()).products[0].name);
