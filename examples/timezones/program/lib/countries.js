// The two tables beside the database: countries by code, and zones by country.

/**
 * @param {string} text of iso3166.tab
 * @returns {Map<string, string>} name by two-letter code
 */
export function parseCountries(text) {
  return new Map(rows(text).map(([code, name]) => [code, name]))
}

/**
 * @param {string} text of zone1970.tab
 * @returns {Map<string, string[]>} zones by two-letter country code
 */
export function parseZonesByCountry(text) {
  const zones = new Map()
  for (const [codes, , zone] of rows(text)) {
    for (const code of codes.split(',')) {
      if (!zones.has(code)) zones.set(code, [])
      zones.get(code).push(zone)
    }
  }
  return zones
}

function rows(text) {
  return text
    .split('\n')
    .filter((line) => line && !line.startsWith('#'))
    .map((line) => line.split('\t'))
}
