/** What everlora's own engine can't do, as a table. Such a request goes to the upstream, or is refused by name: to ignore the field would answer another question. */
import { EverloraError } from "../../../shared/errors/errors.ts";
import type { ChatRequest } from "./request.ts";
import { formatLack, isKnownFormat } from "./response_format.ts";

interface Lack {
  readonly param: string;
  readonly needs: (request: ChatRequest) => boolean;
  readonly what: string;
}

const lacks: readonly Lack[] = [
  { param: "tools", what: "call tools", needs: ({ body }) => (body.tools?.length ?? 0) > 0 && body["tool_choice"] !== "none" },
  { param: "functions", what: "call functions", needs: ({ body }) => Array.isArray(body["functions"]) && body["functions"].length > 0 && body["function_call"] !== "none" },
  { param: "messages", what: "read results of tools", needs: ({ messages }) => messages.some(({ role, tool_calls }) => role === "tool" || role === "function" || (tool_calls?.length ?? 0) > 0) },
  { param: "messages", what: "read anything but text", needs: ({ messages }) => messages.some(({ content }) => Array.isArray(content) && content.some((part) => part.type !== "text")) },
  { param: "response_format", what: "keep to a response format of this type", needs: ({ body }) => !isKnownFormat(body.response_format) },
  { param: "modalities", what: "give anything but text", needs: ({ body }) => Array.isArray(body["modalities"]) && body["modalities"].some((modality) => modality !== "text") },
  { param: "web_search_options", what: "search the web", needs: ({ body }) => typeof body["web_search_options"] === "object" && body["web_search_options"] !== null },
];

/** null when the engine can answer it. */
export function engineLacks(request: ChatRequest): EverloraError | null {
  const lack = lacks.find((row) => row.needs(request));
  if (lack === undefined) return formatLack(request.body.response_format);
  return new EverloraError("invalid_request", `${lack.param}: everlora's own engine can't ${lack.what}.`, { param: lack.param, hint: "Leave the field out, or set UPSTREAM_URL to a server that can." });
}
