// The whole job, on any engine: everything it needs of the system is handed in.

import { analyseCountries, analyseZones } from './analyse.js'
import { parseCountries, parseZonesByCountry } from './countries.js'
import { parseDatabase } from './database.js'

/**
 * @typedef {object} System
 * @property {(path: string) => string} read
 * @property {(path: string, text: string) => void} write
 * @property {(line: string) => void} say
 * @property {string} engine
 */

/**
 * Read the data, analyse it, write the result.
 * @param {System} system
 * @param {string} data folder of the data files
 * @param {string} output file for the result, as JSON
 */
export function report(system, data, output) {
  const database = parseDatabase(system.read(`${data}/tzdata.zi`))
  system.say(`${system.engine}: time zone database ${database.version}`)
  system.say(`${database.zones.size} zones, ${database.links.size} links, ${database.rules} rules`)

  const { offsets, restless } = analyseZones(database)
  for (const { zone, changes } of restless.slice(0, 3)) {
    system.say(`${zone} moved its clocks for good ${changes} times`)
  }

  const names = parseCountries(system.read(`${data}/iso3166.tab`))
  const zones = parseZonesByCountry(system.read(`${data}/zone1970.tab`))
  const countries = analyseCountries(names, zones, database)
  for (const { name, zones: count, spanHours } of countries.slice(0, 3)) {
    system.say(`${name}: ${count} zones, ${spanHours} h apart`)
  }

  const result = {
    version: database.version,
    zones: database.zones.size,
    links: database.links.size,
    rules: database.rules,
    offsets,
    restless,
    countries,
  }
  system.write(output, JSON.stringify(result, null, 2) + '\n')
  system.say(`wrote ${output}`)
}
