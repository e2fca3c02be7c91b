// Files on their way in and out: the API takes and gives bytes as Base64.

/** A file's content in Base64. */
export async function base64Of(file: Blob): Promise<string> {
  const bytes = new Uint8Array(await file.arrayBuffer())
  let text = ''
  for (const byte of bytes) text += String.fromCharCode(byte)
  return btoa(text)
}

/** Content in Base64 as a file. */
export function blobOf(content: string, contentType: string): Blob {
  const bytes = Uint8Array.from(atob(content), (char) => char.charCodeAt(0))
  return new Blob([bytes], { type: contentType })
}

/** Let the browser keep a file. */
export function saveFile(name: string, contentType: string, content: string): void {
  const link = document.createElement('a')
  link.href = URL.createObjectURL(blobOf(content, contentType))
  link.download = name
  link.click()
  URL.revokeObjectURL(link.href)
}
