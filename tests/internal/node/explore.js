// Explores a running shop with nothing but what its services say of themselves (gRPC server reflection):
//   node explore.js ORDERS_ADDRESS USERS_ADDRESS EMAIL PASSWORD ORDER_ID
// Prints one JSON object: the services of orders, an order, and its history from WatchOrder.
const grpc = require("@grpc/grpc-js");
const { GrpcReflection } = require("grpc-js-reflection-client");

const credentials = grpc.credentials.createInsecure();

async function client(address, symbol) {
  const reflection = new GrpcReflection(address, credentials);
  const descriptor = await reflection.getDescriptorBySymbol(symbol);
  const loaded = descriptor.getPackageObject({ keepCase: true, longs: String, defaults: true });
  const Client = symbol.split(".").reduce((scope, name) => scope[name], loaded);
  return { stub: new Client(address, credentials), services: await reflection.listServices() };
}

const call = (stub, method, request, metadata) =>
  new Promise((resolve, reject) =>
    stub[method](request, metadata, { deadline: Date.now() + 10_000 }, (error, answer) =>
      error ? reject(error) : resolve(answer)));

async function main([ordersAddress, usersAddress, email, password, orderId]) {
  const users = await client(usersAddress, "shop.users.v1.UserService");
  const { access_token } = await call(users.stub, "IssueToken", { email, password }, new grpc.Metadata());

  const metadata = new grpc.Metadata();
  metadata.set("authorization", `Bearer ${access_token}`);
  const orders = await client(ordersAddress, "shop.orders.v1.OrderService");
  const { order } = await call(orders.stub, "GetOrder", { id: orderId }, metadata);

  const history = [];
  const watching = orders.stub.WatchOrder({ order_id: orderId }, metadata);
  const last = { rejected: "order.rejected", cancelled: "order.cancelled" }[order.status] ?? `order.${order.status}`;
  for await (const event of watching) {
    history.push(event.type);
    if (event.type === last) break;
  }
  console.log(JSON.stringify({ services: orders.services.sort(), order, history }));
  process.exit(0);
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exit(1);
});
