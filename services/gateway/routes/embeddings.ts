/** POST /v1/embeddings: by the sentence-embedding model of EMBEDDING_MODEL, by the cache's built-in embedding, or by a model of the upstream. */
import { basename } from "node:path";
import { Router } from "express";
import { z } from "zod";
import type { Settings } from "../../../shared/config/settings.ts";
import { describeIssues, EverloraError } from "../../../shared/errors/errors.ts";
import { sha256 } from "../../../shared/events/conversation.ts";
import { handler } from "../../../shared/http/app.ts";
import { builtIn, normalise, toBytes } from "../cache/embedding.ts";
import { fold, read } from "../cache/text.ts";
import { patienceFor } from "../chat/patience.ts";
import { callerOf } from "../../../shared/events/caller.ts";
import { paramOf } from "../chat/request.ts";
import { autoModel } from "../chat/routing.ts";
import type { Engine } from "../engine/engine.ts";
import type { Upstream } from "../upstream/upstream.ts";

const tokens = z.array(z.int().min(0)).min(1);
const bodySchema = z.looseObject({
  model: z.string().min(1).max(256),
  input: z.union([z.string().min(1), z.array(z.string().min(1)).min(1).max(2_048), tokens, z.array(tokens).min(1).max(2_048)]),
  encoding_format: z.enum(["float", "base64"]).nullish(),
  dimensions: z.int().min(1).max(65_536).nullish(),
  user: z.string().max(512).nullish(),
});

export interface EmbeddingsDependencies {
  readonly engine: Pick<Engine, "embed"> | undefined;
  readonly upstream: Upstream | undefined;
}

interface Embedded {
  readonly vectors: readonly Float32Array[];
  readonly tokens: number;
}

/** What the cache's embedding is called. */
const builtInName = builtIn.identity;

/** How the model of EMBEDDING_MODEL is called: its folder's last part. undefined where there is none. */
export function embeddingModelName({ EMBEDDING_MODEL: folder }: Pick<Settings, "EMBEDDING_MODEL">): string | undefined {
  return folder === undefined ? undefined : basename(folder);
}

export function embeddingRoutes(dependencies: () => EmbeddingsDependencies, settings: Settings, apiKey: string): Router {
  const router = Router();
  const keyHash = sha256(apiKey);
  const own = embeddingModelName(settings);
  router.post(
    "/v1/embeddings",
    handler(async (http, response) => {
      const { engine, upstream } = dependencies();
      const parsed = bodySchema.safeParse(http.body);
      if (!parsed.success) throw new EverloraError("invalid_request", describeIssues(parsed.error.issues), { ...paramOf(parsed.error.issues[0]?.path) });
      const { data: body } = parsed;
      const patience = patienceFor(http, response, settings);
      const texts = typeof body.input === "string" ? [body.input] : body.input.every((each) => typeof each === "string") ? body.input : null;
      const model = body.model === autoModel ? (own ?? builtInName) : body.model;
      try {
        if (model !== own && model !== builtInName) {
          if (upstream === undefined) throw new EverloraError("model_not_found", `There is no embedding model ${JSON.stringify(body.model)}.`, { param: "model", hint: `Name ${own ?? builtInName} or auto.` });
          response.json(await upstream.json("embeddings", body, patience.signal));
          return;
        }
        if (texts === null) throw new EverloraError("invalid_request", "input: token ids can't be read here; send texts.", { param: "input" });
        const characters = texts.reduce((sum, text) => sum + text.length, 0);
        if (characters > settings.MAX_PROMPT_CHARACTERS) throw new EverloraError("context_length_exceeded", `input: ${characters} characters; at most ${settings.MAX_PROMPT_CHARACTERS} are taken.`, { param: "input", hint: "Send fewer texts at once, or raise MAX_PROMPT_CHARACTERS." });
        const embedded = model === own ? await byEngine(engine, texts, callerOf(keyHash, body.user), patience.signal) : await byNgrams(texts);
        const vectors = embedded.vectors.map((vector) => shorten(vector, body.dimensions ?? vector.length, model === own ? cut : foldUp));
        response.json({
          object: "list",
          data: vectors.map((vector, index) => ({ object: "embedding", index, embedding: body.encoding_format === "base64" ? toBytes(vector).toString("base64") : Array.from(vector) })),
          model,
          usage: { prompt_tokens: embedded.tokens, total_tokens: embedded.tokens },
        });
      } catch (error) {
        if (!patience.left) throw patience.explain(error);
      }
    }),
  );
  return router;
}

async function byEngine(engine: EmbeddingsDependencies["engine"], texts: readonly string[], caller: string, signal: AbortSignal): Promise<Embedded> {
  if (engine === undefined) throw new EverloraError("invalid_request", "model: the model of EMBEDDING_MODEL runs in the engine, and SERVING_URL is in its place.", { param: "model", hint: `Name ${builtInName}.` });
  const { vectors, tokens: counted } = await engine.embed(texts, caller, signal);
  return { vectors: vectors.map((vector) => Float32Array.from(vector)), tokens: counted };
}

/** Its words are its tokens. A text in which no word counts ("Hi!", "?") is one as it stands: for the cache it has no direction, but a client may divide by its length. */
async function byNgrams(texts: readonly string[]): Promise<Embedded> {
  const readings = texts.map((text) => {
    const reading = read(text);
    return reading.words.length > 0 ? reading : { ...reading, words: [fold(text)] };
  });
  return { vectors: await Promise.all(readings.map(async (reading) => builtIn.embed(reading))), tokens: readings.reduce((sum, { words }) => sum + words.length, 0) };
}

/** As OpenAI does: fewer numbers, made a unit vector again. @throws EverloraError invalid_request when there are not so many */
function shorten(vector: Float32Array, dimensions: number, shortened: (vector: Float32Array, dimensions: number) => Float32Array): Float32Array {
  if (dimensions > vector.length) throw new EverloraError("invalid_request", `dimensions: ${dimensions} were asked for; this model has ${vector.length}.`, { param: "dimensions" });
  if (dimensions === vector.length) return vector;
  const short = shortened(vector, dimensions);
  // All may have cancelled out in a few numbers.
  if (short.every((value) => value === 0)) short[0] = 1;
  return normalise(short);
}

const cut = (vector: Float32Array, dimensions: number) => vector.slice(0, dimensions);

/** Hashed features are spread over all slots, few of them taken by a short text: the first so many may all be empty. Added up modulo they are features hashed into fewer slots. */
function foldUp(vector: Float32Array, dimensions: number): Float32Array {
  const short = new Float32Array(dimensions);
  vector.forEach((value, at) => (short[at % dimensions] = (short[at % dimensions] ?? 0) + value));
  return short;
}
