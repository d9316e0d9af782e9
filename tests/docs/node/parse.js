// Prints what AsyncAPI's own parser finds in the document on standard input: [{severity, code, path, message}].
const { Parser } = require('@asyncapi/parser');

const chunks = [];
process.stdin.on('data', (chunk) => chunks.push(chunk)).on('end', async () => {
  const { diagnostics } = await new Parser().parse(Buffer.concat(chunks).toString('utf8'));
  const found = diagnostics.map(({ severity, code, path, message }) => ({ severity, code, path, message }));
  console.log(JSON.stringify(found));
});
