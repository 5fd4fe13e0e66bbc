/** A conversation in the one spelling that anonymiser and search for duplicates expect (shared/anonymise/normalise.ts). */
import { normaliseText } from "../../../shared/anonymise/normalise.ts";
import { walkConversation } from "../../../shared/anonymise/walk.ts";
import type { Conversation } from "../../../shared/events/conversation.ts";

export function normaliseConversation(conversation: Conversation): Conversation {
  const { messages, tools } = walkConversation({ messages: [...conversation.messages, conversation.answer], tools: conversation.tools }, normaliseText);
  const answer = messages.pop() ?? conversation.answer;
  return { ...conversation, messages, answer, ...(tools === undefined ? {} : { tools }) };
}
