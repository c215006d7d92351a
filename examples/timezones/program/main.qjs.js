// The job on QuickJS: `qjs --module main.qjs.js DATA OUTPUT`.

import * as std from 'std'
import { report } from './lib/report.js'

const [data, output] = scriptArgs.slice(1)

function read(path) {
  const text = std.loadFile(path)
  if (text === null) throw new Error(`cannot read ${path}`)
  return text
}

function write(path, text) {
  const file = std.open(path, 'w')
  if (file === null) throw new Error(`cannot write ${path}`)
  file.puts(text)
  file.close()
}

report({ read, write, say: (line) => console.log(line), engine: 'QuickJS' }, data, output)
