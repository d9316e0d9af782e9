// The official TypeScript SDK's client: lists the tools and searches for a product.
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";

const [url, token] = process.argv.slice(2);
const client = new Client({ name: "agent", version: "1.0.0" });
const requestInit = { headers: { Authorization: `Bearer ${token}` } };
await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit }));
const { tools } = await client.listTools();
const found = await client.callTool({ name: "search_products", arguments: { query: "keyboard" } });
console.log(JSON.stringify({ tools: tools.map((tool) => tool.name), found: found.structuredContent }));
await client.close();
