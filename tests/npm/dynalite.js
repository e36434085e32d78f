// Listens on this machine alone, at the port that is named, as DynamoDB would: tables are there at once. With the files of a
// certificate and its key, over TLS.
const fs = require('fs');
const dynalite = require('dynalite');

const [port, cert, key] = process.argv.slice(2);
const tls = cert ? { ssl: true, cert: fs.readFileSync(cert), key: fs.readFileSync(key) } : {};
dynalite({ createTableMs: 0, deleteTableMs: 0, updateTableMs: 0, ...tls }).listen(Number(port), '127.0.0.1');
