/** What `application/x-trackkit-matrix` holds: a header, and doubles behind it. */
export interface Matrices<Header> {
  header: Header;
  /** The matrices in turn, of the lengths asked for; views of the answer, so nothing is copied. */
  arrays: Float64Array[];
}

/**
 * Decode `application/x-trackkit-matrix`: a length, a JSON header padded to 8 bytes, and doubles.
 * `lengths` tells from the header how many doubles each array has.
 */
export function decodeMatrices<Header>(buffer: ArrayBuffer, lengths: (header: Header) => number[]): Matrices<Header> {
  if (buffer.byteLength < 4) throw new Error('The server sent an empty matrix.');
  const headerLength = new DataView(buffer).getUint32(0, true);
  let offset = 4 + headerLength;
  if (offset > buffer.byteLength || offset % 8 !== 0) throw new Error('The server sent a matrix whose header is damaged.');
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, headerLength))) as Header;
  const arrays = lengths(header).map((length) => {
    if (offset + length * 8 > buffer.byteLength) throw new Error('The server sent a matrix that ends too early.');
    const array = new Float64Array(buffer, offset, length);
    offset += length * 8;
    return array;
  });
  return { header, arrays };
}
