// What an order's form sends.

/** A line as typed; without unitPrice the product's price. */
export interface LineInput {
  productId: string
  quantity: string
  unitPrice: string
}

/** A file's content in Base64, as the API takes bytes. */
export async function base64Of(file: Blob): Promise<string> {
  const bytes = new Uint8Array(await file.arrayBuffer())
  let text = ''
  for (const byte of bytes) text += String.fromCharCode(byte)
  return btoa(text)
}
