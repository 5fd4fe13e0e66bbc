/** A conversation as the quality rules look at it: its texts, taken out once. */
import { textOf, type Conversation } from "../../../shared/events/conversation.ts";

export interface Draft {
  readonly conversation: Conversation;
  /** All that the user said. */
  readonly prompt: string;
  readonly answer: string;
  /** What came from outside and could carry instructions: users and tools. */
  readonly incoming: string;
  /** Characters of all messages together. */
  readonly length: number;
}

export function draftOf(conversation: Conversation): Draft {
  const of = (...roles: string[]) =>
    conversation.messages
      .filter((message) => roles.includes(message.role))
      .map(textOf)
      .join("\n");
  return {
    conversation,
    prompt: of("user"),
    answer: textOf(conversation.answer),
    incoming: of("user", "tool", "function"),
    length: [...conversation.messages, conversation.answer].reduce((sum, message) => sum + textOf(message).length + (message.tool_calls === undefined ? 0 : JSON.stringify(message.tool_calls).length), 0),
  };
}

/** Words in lower case. */
export function wordsIn(text: string): string[] {
  return text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
}
