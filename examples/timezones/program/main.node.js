// The job on Node: `node main.node.js DATA OUTPUT`.

import { readFileSync, writeFileSync } from 'node:fs'
import { report } from './lib/report.js'

const [data, output] = process.argv.slice(2)
report(
  {
    read: (path) => readFileSync(path, 'utf8'),
    write: (path, text) => writeFileSync(path, text),
    say: (line) => console.log(line),
    engine: `Node ${process.version}`,
  },
  data,
  output,
)
