// Offsets from Greenwich, as the database writes them and as people read them.

/**
 * @param {string} text as `-5`, `5:30`, `0:12:12` or `-`
 * @returns {number} seconds
 */
export function parseOffset(text) {
  if (text === '-') return 0
  const sign = text.startsWith('-') ? -1 : 1
  const [hours, minutes = 0, seconds = 0] = text.replace('-', '').split(':').map(Number)
  return sign * (hours * 3600 + minutes * 60 + seconds)
}

/**
 * @param {number} seconds
 * @returns {string} as `UTC+05:30`
 */
export function formatOffset(seconds) {
  const rest = Math.abs(seconds)
  const two = (number) => String(Math.floor(number)).padStart(2, '0')
  return `UTC${seconds < 0 ? '-' : '+'}${two(rest / 3600)}:${two((rest % 3600) / 60)}`
}
