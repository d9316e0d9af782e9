const answer = await fetch("http://127.0.0.1:8000/products/42");
console.log((await answer.json()).name);
