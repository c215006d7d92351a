// Reads the compact form of the IANA time zone database: one record a line, fields by blanks.
//   R rule …            a daylight saving rule
//   Z name offset …     a zone's first era, and on the lines after it
//   offset …            its later eras, each valid until the date at the line's end
//   L target alias      another name for a zone

import { parseOffset } from './offset.js'

/**
 * @typedef {{ offset: number, rules: string, until: number | null }} Era
 *   `offset` in seconds east of Greenwich; `until` a year, null for the era that still lasts.
 * @typedef {{ version: string, rules: number, zones: Map<string, Era[]>, links: Map<string, string> }} Database
 */

/**
 * Parse a whole database.
 * @param {string} text
 * @returns {Database}
 */
export function parseDatabase(text) {
  const database = { version: '', rules: 0, zones: new Map(), links: new Map() }
  let eras = []
  for (const line of text.split('\n')) {
    const fields = line.split(' ')
    switch (fields[0]) {
      case '':
        break
      case '#':
        if (fields[1] === 'version') database.version = fields[2]
        break
      case 'R':
        database.rules += 1
        break
      case 'L':
        database.links.set(fields[2], fields[1])
        break
      case 'Z':
        eras = []
        database.zones.set(fields[1], eras)
        eras.push(parseEra(fields.slice(2)))
        break
      default:
        eras.push(parseEra(fields))
    }
  }
  return database
}

function parseEra([offset, rules, , until]) {
  return { offset: parseOffset(offset), rules, until: until === undefined ? null : Number(until) }
}
