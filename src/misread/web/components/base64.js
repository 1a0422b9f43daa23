// Bytes as text in base64, and back.

export const toBase64 = (bytes) => btoa(Array.from(bytes, (b) => String.fromCharCode(b)).join(""));
export const fromBase64 = (encoded) => Uint8Array.from(atob(encoded), (c) => c.charCodeAt(0));
