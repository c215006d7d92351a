// The globals of qjs that programs commonly use, over the few functions of the host.
globalThis.__modules = {}
globalThis.scriptArgs = __arguments === '' ? [] : __arguments.split('\0')

{
  const show = value =>
    typeof value === 'object' && value !== null
      ? value instanceof Error ? `${value}\n${value.stack}` : JSON.stringify(value) ?? String(value)
      : String(value)
  const printer = handle => (...values) => { __host_write(handle, values.map(show).join(' ') + '\n') }

  globalThis.print = printer(1)
  globalThis.console = {
    log: printer(1), info: printer(1), debug: printer(1), warn: printer(2), error: printer(2),
  }

  class File {
    #handle
    constructor(handle) { this.#handle = handle }
    puts(...texts) { for (const text of texts) __host_write(this.#handle, String(text)) }
    readAsString() { return __host_read(this.#handle) }
    getline() { return __host_line(this.#handle) }
    flush() {}
    close() { __host_close(this.#handle); return 0 }
  }
  const open = (path, mode) => {
    const handle = __host_open(String(path), String(mode))
    return handle < 0 ? null : new File(handle)
  }

  globalThis.__std = {
    in: new File(0), out: new File(1), err: new File(2), open,
    loadFile(path) {
      const file = open(path, 'r')
      if (!file) return null
      const text = file.readAsString()
      file.close()
      return text
    },
    exit(code = 0) { __host_exit(code | 0) },
    getenv(name) { return __host_getenv(String(name)) ?? undefined },
    gc() {},
  }

  // Timers: the host asks when the next one is due, and waits.
  let last = 0
  const timers = new Map()
  const setTimeout = (action, delay = 0, ...values) => {
    timers.set(++last, { at: Date.now() + Math.max(0, Number(delay) || 0), run: () => action(...values) })
    return last
  }
  const clearTimeout = id => { timers.delete(id) }
  globalThis.__os = { platform: 'linux', setTimeout, clearTimeout, now: () => Date.now() }
  globalThis.setTimeout = setTimeout
  globalThis.clearTimeout = clearTimeout
  globalThis.__due = () => {
    const next = [...timers].sort((a, b) => a[1].at - b[1].at)[0]
    if (!next) return null
    const wait = next[1].at - Date.now()
    if (wait > 0) return wait
    timers.delete(next[0])
    next[1].run()
    return 0
  }

  globalThis.__fail = error => {
    __host_write(2, (error instanceof Error ? `${error}\n${error.stack}` : String(error)) + '\n')
    __host_exit(1)
  }
  globalThis.std = globalThis.__std
  globalThis.os = globalThis.__os
}
