// Pensée from Node.js: the addon in pensee.c, which needs Node's headers and nothing else.
//
//   cc -O2 -shared -fPIC -I NODE_HEADERS -I HEADER_FOLDER pensee.c \
//       -L LIBRARY_FOLDER -lpensee_c -o pensee.node
//   node ask.js ./pensee.node MODEL "What is 12 + 30?"
'use strict';
const path = require('path');

async function main([addon, model, question]) {
  const pensee = require(path.resolve(addon));
  const reply = await pensee.ask(model, question);
  console.log(`Thought:\n${reply.thought}`);
  console.log(`Answer:\n${reply.answer}`);
}

if (process.argv.length !== 5) {
  console.error('usage: node ask.js ADDON MODEL QUESTION');
  process.exitCode = 2;
} else {
  main(process.argv.slice(2)).catch((error) => {
    console.error(error.message);
    process.exitCode = 1;
  });
}
