// Runs a function under @vercel/fun, whose Runtime API is independent of ours.
//
//   node fun_invoke.js FOLDER REQUEST.json
//
// FOLDER holds the file bootstrap. The request is {"variables": {...}, "events": [text, ...]}. The events are invoked
// one after the other; what came of them is a JSON list on standard output.
'use strict';
const fs = require('node:fs');

async function main() {
  let fun;
  try {
    fun = require('@vercel/fun');
  } catch (error) {
    throw new Error(`@vercel/fun is missing; run: npm ci --prefix ${__dirname} (${error.code})`);
  }
  const request = JSON.parse(fs.readFileSync(process.argv[3], 'utf8'));
  const lambda = await fun.createFunction({
    Code: { Directory: process.argv[2] },
    Handler: 'virga',
    Runtime: 'provided',
    Environment: { Variables: request.variables },
    MemorySize: 512,
    Timeout: 60,
  });
  try {
    const results = [];
    for (const event of request.events) {
      results.push(await lambda.invoke({ InvocationType: 'RequestResponse', Payload: event }));
    }
    fs.writeSync(1, JSON.stringify(results));
  } finally {
    await lambda.destroy();
  }
}

main().catch((error) => {
  console.error(String(error.stack || error));
  process.exitCode = 1;
});
