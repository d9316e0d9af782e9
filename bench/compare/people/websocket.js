const socket = new WebSocket("ws://127.0.0.1:8000");
socket.onopen = () => socket.send(JSON.stringify({ id: 1, product: "42" }));
socket.onmessage = (message) => console.log(JSON.parse(message.data).product.name);
