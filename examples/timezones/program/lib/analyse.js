// What the database says about the world's clocks.

import { formatOffset } from './offset.js'

/**
 * @param {import('./database.js').Database} database
 * @returns {object} zones by present standard offset, and the zones that changed theirs most often
 */
export function analyseZones(database) {
  const byOffset = new Map()
  const restless = []
  for (const [name, eras] of database.zones) {
    const present = eras[eras.length - 1].offset
    byOffset.set(present, (byOffset.get(present) ?? 0) + 1)
    const changes = eras.filter((era, at) => at > 0 && era.offset !== eras[at - 1].offset).length
    restless.push({ zone: name, eras: eras.length, changes })
  }
  restless.sort((a, b) => b.changes - a.changes || compare(a.zone, b.zone))
  return {
    offsets: [...byOffset]
      .sort(([a], [b]) => a - b)
      .map(([offset, zones]) => ({ offset: formatOffset(offset), zones })),
    restless: restless.slice(0, 10),
  }
}

/**
 * @param {Map<string, string>} names
 * @param {Map<string, string[]>} zonesByCountry
 * @param {import('./database.js').Database} database
 * @returns {object[]} the countries with the most zones, and how far their clocks are apart
 */
export function analyseCountries(names, zonesByCountry, database) {
  const countries = [...zonesByCountry].map(([code, zones]) => {
    const offsets = zones.map((zone) => presentOffset(database, zone))
    return {
      code,
      name: names.get(code),
      zones: zones.length,
      spanHours: (Math.max(...offsets) - Math.min(...offsets)) / 3600,
    }
  })
  countries.sort((a, b) => b.zones - a.zones || compare(a.code, b.code))
  return countries.slice(0, 10)
}

function presentOffset(database, zone) {
  const eras = database.zones.get(database.links.get(zone) ?? zone)
  return eras[eras.length - 1].offset
}

// By code unit, not by locale: the same order in every engine.
function compare(a, b) {
  return a < b ? -1 : a > b ? 1 : 0
}
