// The official TypeScript SDK's OAuth client: finds the way from a 401, registers, and has "the user" sign in at the page.
import { Client, StreamableHTTPClientTransport, UnauthorizedError } from "@modelcontextprotocol/client";

const [url, email, password] = process.argv.slice(2);
const kept = {};
const redirectUrl = "http://127.0.0.1:33418/callback";
const authProvider = {
  redirectUrl,
  clientMetadata: { client_name: "An agent", redirect_uris: [redirectUrl], token_endpoint_auth_method: "none" },
  state: () => "one-of-a-kind",
  clientInformation: () => kept.client,
  saveClientInformation: (client) => { kept.client = client; },
  tokens: () => kept.tokens,
  saveTokens: (tokens) => { kept.tokens = tokens; },
  codeVerifier: () => kept.verifier,
  saveCodeVerifier: (verifier) => { kept.verifier = verifier; },
  redirectToAuthorization: (page) => { kept.page = page; },
};

// What a browser does: it shows the page, sends its form, and follows the redirect to the program.
async function allow(page) {
  const html = await (await fetch(page)).text();
  const fields = new URLSearchParams();
  for (const [, name, value] of html.matchAll(/<input type="hidden" name="(\w+)" value="([^"]*)">/g)) {
    fields.set(name, value.replaceAll("&amp;", "&"));
  }
  for (const [name, value] of Object.entries({ email, password, answer: "allow" })) fields.set(name, value);
  const headers = { Origin: page.origin };
  const sent = await fetch(new URL("/oauth/authorize", page), { method: "POST", body: fields, headers, redirect: "manual" });
  return new URL(sent.headers.get("location")).searchParams;
}

const transport = () => new StreamableHTTPClientTransport(new URL(url), { authProvider });
const client = () => new Client({ name: "agent", version: "1.0.0" });
const first = transport();
const refused = await client().connect(first).then(() => null, (error) => error);
if (!(refused instanceof UnauthorizedError)) throw new Error(`not asked to sign in: ${refused}`);
const told = await allow(kept.page);
if (told.get("state") !== "one-of-a-kind") throw new Error("another state came back");
await first.finishAuth(told);
const signedIn = client();
await signedIn.connect(transport());
const found = await signedIn.callTool({ name: "order_status", arguments: { order_id: "123" } });
console.log(JSON.stringify({ order: found.structuredContent.order.id, scope: kept.tokens.scope }));
await signedIn.close();
