// Listens on this machine alone, at the port that is named, as DynamoDB would: tables are there at once.
const dynalite = require('dynalite');

dynalite({ createTableMs: 0, deleteTableMs: 0, updateTableMs: 0 }).listen(Number(process.argv[2]), '127.0.0.1');
