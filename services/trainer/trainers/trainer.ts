/**
 * What the run child and a trainer owe each other. A trainer is a pure piece of work: rows and a base model in, adapter weights and losses
 * out. It decides nothing (that is the gate), writes no files (that is the publisher) and knows no queue. It may block its thread for as long as a
 * training step takes, which is why it runs in the forked child only.
 */
import type { ComputeDevice } from "../../../shared/config/devices.ts";
import type { Row } from "../../../shared/datasets/row.ts";
import type { Run, StepMetric } from "../../../shared/runs/run.ts";
import type { Checkpoints } from "../run/checkpoint.ts";

/** What a trainer may know of a row: the messages, the last of which is the assistant's answer that carries loss. */
export type Example = Pick<Row, "id" | "messages">;

export interface TrainerInput {
  /** Folder of the base model, in Hugging Face's layout. */
  readonly baseModel: string;
  /** Where float32 weights and compiled graphs are kept between runs. */
  readonly compiledFolder: string;
  readonly train: readonly Example[];
  readonly heldOut: readonly Example[];
  /** Rows of no domain in particular: the adapter must not get much worse on them. */
  readonly general: readonly Example[];
  readonly settings: Run["settings"];
  /** 0 = one per core. */
  readonly threads: number;
  /** COMPUTE_DEVICE. */
  readonly device: ComputeDevice;
  /** The adapter that answers for this domain now, to be beaten, unless it was trained for another base; null = the base answers. */
  readonly liveAdapter: {
    readonly generation: string;
    readonly folder: string;
    readonly baseSha256: string;
    /** Ids of the rows that it was trained on; null when nobody knows any more. */
    readonly knownRows: ReadonlySet<string> | null;
  } | null;
  /** Of the run's rows. */
  readonly datasetSha256: string;
  /** Where the state of a training is kept, so that the next attempt can go on from it. */
  readonly checkpoints: Checkpoints;
  /** An earlier attempt at this run ended for want of memory. */
  readonly ranOutOfMemory: boolean;
  /** One sentence about what is going on, for the run's log. Never texts of conversations. */
  readonly onLog: (message: string) => void;
  /** After each optimiser step. @param steps how many steps the run will have in all */
  readonly onStep: (metric: StepMetric, steps: number) => void;
  /** Looked at between steps. When it fires the trainer throws its reason. */
  readonly signal: AbortSignal;
}

/** Losses are means in nats a token, over the tokens that carry loss (the assistant's). */
export interface TrainerOutput {
  readonly base: { readonly name: string; readonly sha256: string };
  /** Where it ran and on what, for the run's record. */
  readonly device: string;
  readonly onnxruntime: string;
  /** Share of all the tokens in the training rows that carry loss. */
  readonly trainedTokenShare: number;
  readonly losses: { readonly first: number; readonly last: number };
  /** How the training went. */
  readonly training: NonNullable<Run["training"]>;
  /** How much worse than before, in nats a token, the general set is predicted. */
  readonly forgetting: NonNullable<Run["forgetting"]>;
  readonly heldOut: {
    readonly base: number;
    /** null when there is no live adapter. */
    readonly live: number | null;
    readonly adapter: number;
    readonly rows: number;
    readonly tokens: number;
    /** Mean loss of each held-out row and its number of tokens, all arrays in the same order: what the gate's paired test needs. */
    readonly perRow: { readonly base: readonly number[]; readonly adapter: readonly number[]; readonly live: readonly number[] | null; readonly tokens: readonly number[] };
  };
  readonly general: { readonly base: number; readonly adapter: number; readonly rows: number; readonly tokens: number };
  /** adapter_config.json as PEFT writes it. */
  readonly config: Readonly<Record<string, unknown>>;
  /** adapter_model.safetensors as bytes. */
  readonly weights: Uint8Array;
}

export type Trainer = (input: TrainerInput) => Promise<TrainerOutput>;
