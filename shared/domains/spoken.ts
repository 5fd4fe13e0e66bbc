/** The words of a conversation by which it is sorted: question and answer. A system prompt says what the application is, not what was asked; placeholders are no words. */
import { textOf, type Message } from "../events/conversation.ts";
import { mostCharacters } from "./classify.ts";
import { wordsOf, wordsOfAll, type Word } from "./words.ts";

const placeholder = /\[[A-Z][A-Z0-9_]{1,28}\]/g;

export function spokenWords(messages: readonly Message[]): readonly Word[] {
  const texts: string[] = [];
  let length = 0;
  for (const message of messages) {
    if (message.role !== "user" && message.role !== "assistant") continue;
    const text = textOf(message);
    texts.push(text.includes("[") ? text.replace(placeholder, " ") : text);
    length += text.length + 1;
  }
  if (length > mostCharacters) return wordsOf(texts.join("\n").slice(0, mostCharacters));
  return wordsOfAll(texts);
}
