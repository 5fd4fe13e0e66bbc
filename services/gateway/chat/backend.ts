/** Who runs the base and its adapters: the engine's child processes, or a server of the serving fleet. */
import type { EverloraError } from "../../../shared/errors/errors.ts";
import type { Engine } from "../engine/engine.ts";
import type { EngineModel } from "../engine/protocol.ts";
import { engineTextSource } from "../text/engine_source.ts";
import type { TextSource } from "../text/source.ts";
import type { TextRequest } from "../text/request.ts";
import { engineTextLacks } from "../text/request.ts";
import { engineLacks } from "./capabilities.ts";
import type { Head } from "./completion.ts";
import type { ChatRequest } from "./request.ts";
import { engineSource, type Source } from "./source.ts";

/** An adapter, or the base. */
export interface Which {
  /** `domain@generation`, or the base's name. */
  readonly model: string;
  readonly generation: string | null;
}

export interface Backend {
  readonly model: EngineModel;
  /** null when it can answer such a request. */
  lacks(request: ChatRequest): EverloraError | null;
  lacksText(request: TextRequest): EverloraError | null;
  /** @throws EverloraError invalid_request */
  chat(request: ChatRequest, which: Which, head: Head): Source;
  text(request: TextRequest, which: Which, head: Head): TextSource;
}

export function engineBackend(engine: Pick<Engine, "generate">, model: EngineModel): Backend {
  return {
    model,
    lacks: engineLacks,
    lacksText: engineTextLacks,
    chat: (request, { generation }, head) => engineSource(engine, request, generation, model.contextLength, head),
    text: (request, { generation }, head) => engineTextSource(engine, request, generation, model.contextLength, head),
  };
}
