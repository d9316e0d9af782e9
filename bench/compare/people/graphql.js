const body = JSON.stringify({ query: '{ product(id: "42") { name } }' });
const headers = { "Content-Type": "application/json" };
const answer = await fetch("http://127.0.0.1:8000/graphql", { method: "POST", headers, body });
console.log((await answer.json()).data.product.name);
