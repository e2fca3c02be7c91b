/** A random UUID. `crypto.randomUUID` exists only in secure contexts; a desk on a plain-HTTP LAN is not one. */
export function newRequestId(): string {
  if (typeof crypto.randomUUID === 'function') return crypto.randomUUID()
  const bytes = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte, i) => {
    // Version 4, variant 1. (RFC 9562, 5.4)
    if (i === 6) return (byte & 0x0f) | 0x40
    return i === 8 ? (byte & 0x3f) | 0x80 : byte
  })
  const hex = bytes.map((byte) => byte.toString(16).padStart(2, '0')).join('')
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}
