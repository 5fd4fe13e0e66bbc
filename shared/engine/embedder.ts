/**
 * Sentence embeddings by a BERT encoder from a Hugging Face folder (all-MiniLM-L6-v2 and its like). Lives in a child process only (runtime.ts says
 * why). Not responsible for what is embedded, nor for what is done with the vectors.
 */
import type { Device } from "../tensor/runtime.ts";

export interface Embedder {
  /** Length of every vector. */
  readonly dimension: number;
  /**
   * One vector per text, in the same order, of length 1 where the folder's modules say so (sentence-transformers' `2_Normalize`). A text longer than
   * the model's context is cut, as sentence-transformers does. Blocks the thread while the graph runs.
   */
  embed(texts: readonly string[]): Promise<Float32Array[]>;
}

/**
 * @param folder Hugging Face's layout; pooling and normalisation as `modules.json` and `1_Pooling/config.json` say, mean and normalised without them
 * @param compiledFolder where float32 weights and compiled graphs are kept between starts
 * @throws EverloraError invalid_model_folder
 */
export type OpenEmbedder = (folder: string, compiledFolder: string, device: Device) => Promise<Embedder>;
