// The hashes by which A1111 and Civitai know files.

import { Sha256 } from "../library/sha256.js";

/** Bytes that are in memory at once. */
const PIECE = 4 << 20;
const ADAPTER_DIGITS = 12;
/** Of whole files: a checkpoint or a VAE, an embedding. */
export const DIGITS = Object.freeze({ file: 10, embedding: ADAPTER_DIGITS });
/** A header that is longer is damage. */
const LARGEST_HEADER = 64 << 20;

/** @param {Blob} file @param {number} [from] @returns {Promise<string>} 64 hexadecimal digits */
export async function sha256Of(file, from = 0) {
  const sum = new Sha256();
  for (let at = from; at < file.size; at += PIECE) sum.update(new Uint8Array(await file.slice(at, at + PIECE).arrayBuffer()));
  return sum.hex();
}

/** Of a checkpoint or a VAE ("AutoV2"). @param {Blob} file */
export async function fileHash(file) {
  return (await sha256Of(file)).slice(0, DIGITS.file);
}

/** Of an embedding: of its whole file. @param {Blob} file */
export async function embeddingHash(file) {
  return (await sha256Of(file)).slice(0, DIGITS.embedding);
}

/** Of an adapter ("AutoV3"): of its tensors alone, so that notes in its header don't change it. @param {Blob} file a safetensors file */
export async function adapterHash(file) {
  const length = Number(new DataView(await file.slice(0, 8).arrayBuffer()).getBigUint64(0, true));
  const header = await metadataOf(file, length);
  return (header?.sshs_model_hash || await sha256Of(file, 8 + length)).slice(0, ADAPTER_DIGITS);
}

async function metadataOf(file, length) {
  if (length > LARGEST_HEADER) return null;
  try {
    return JSON.parse(await file.slice(8, 8 + length).text()).__metadata__;
  } catch {
    return null;
  }
}
