/** What junk looks like, in Portuguese and English. Each list is data: a new kind of refusal or error page is a new line. */

/** An answer that begins like this and is short says no and nothing else. */
export const refusals: readonly RegExp[] = [
  /^(?:i['’]?m|i am|we['’]?re|we are)?\s*(?:very |so |really |truly )?sorry,?\s*(?:but\s)?(?:i|we)\s?(?:can(?:no|['’])t|can not|am unable|are unable|['’]m unable|won['’]t|['’]m not able|am not able|['’]re not able)/i,
  /^(?:unfortunately,?\s)?(?:i|we) (?:can(?:no|['’])t|can not|am unable to|won['’]t|am not able to) (?:help|assist|answer|share|provide|do that|fulfil+|comply|discuss|support|reveal|show)/i,
  /^as an? (?:ai|artificial intelligence|large language model|language model)\b/i,
  /^(?:desculpe|desculpa|me desculpe|sinto muito|lamento|infelizmente)[^.!?]{0,40}não (?:posso|consigo|podemos|vou poder)/i,
  /^(?:eu )?não posso (?:ajudar|mostrar|fornecer|compartilhar|responder|atender|fazer isso|revelar|discutir|te ajudar)/i,
  /^como (?:uma? )?(?:ia|inteligência artificial|modelo de linguagem)\b/i,
];

/** An answer that is a server's error and no answer. */
export const errorPages: readonly RegExp[] = [
  /^(?:<!doctype html[^>]*>\s*)?<html[\s\S]{0,400}?(?:\b[45]\d\d\b|error|gateway|unavailable|forbidden|not found)/i,
  /^(?:http\/\d(?:\.\d)? |error:? |status:? |erro:? )?(?:400|401|403|404|408|413|429|500|501|502|503|504|520|521|522|524)\b[\s:,-]*(?:bad|unauthorized|forbidden|not found|request|payload|too many|internal|not implemented|service|gateway|origin|web server|erro|$)/i,
  /^(?:internal server error|bad gateway|service unavailable|gateway time-?out|too many requests|upstream (?:connect error|request timeout)|no healthy upstream|erro interno)/i,
  /^\{\s*"(?:error|errors|detail|message)"\s*:/i,
  /^(?:traceback \(most recent call last\)|(?:unhandled|uncaught) (?:exception|error)|fatal error:|[A-Z]\w+(?:Error|Exception): )/i,
  /^(?:an (?:unexpected |internal )?error (?:has )?occurred|something went wrong|ocorreu um erro|houve um erro|algo deu errado|request timed out|rate limit (?:reached|exceeded)|model (?:is )?overloaded)/i,
];

/** Attempts to take the model over, wherever they stand. */
export const injections: readonly RegExp[] = [
  /\b(?:ignore|disregard|forget|override|bypass)\b[^.\n]{0,30}\b(?:previous|prior|above|earlier|all|your|system|safety)\b[^.\n]{0,20}\b(?:instructions?|prompts?|rules|guidelines|directives|messages)\b/i,
  /\b(?:ignor[ae]r?|desconsider[ae]r?|esqueç?[ae]|esquecer)\b[^.\n]{0,30}(?:instruções|instrucoes|regras|orientações|comandos|diretrizes|prompt)/i,
  /\b(?:print|show|reveal|repeat|display|output|leak|dump|tell me)\b[^.\n]{0,30}\b(?:your|the)\b[^.\n]{0,15}\b(?:system|initial|hidden|original|secret) (?:prompt|instructions?|message)/i,
  /(?:mostr[ae]r?|revel[ae]r?|imprim[ai]r?|repit[ae]|exib[ai]r?|diga|liste)[^.\n]{0,30}(?:prompt (?:do|de) sistema|system prompt|instruções (?:internas|do sistema|ocultas|iniciais))/i,
  /\b(?:you are now|from now on you are|act as|pretend (?:to be|you are))\b[^.\n]{0,40}\b(?:dan|jailbroken|unrestricted|without (?:any )?(?:restrictions|limits|filters)|no (?:restrictions|rules|limits))\b/i,
  /(?:você agora é|a partir de agora você é|aja como|finja (?:ser|que))[^.\n]{0,40}(?:\bdan\b|sem (?:restrições|limites|filtros|regras))/i,
  /\b(?:do anything now|jailbreak mode|developer mode enabled|modo desenvolvedor ativado)\b/i,
  /<\|(?:im_start|im_end|system|endoftext|eot_id|start_header_id)\|>|\[\/?INST\]|<<\/?SYS>>/,
];

/** Keys and passwords by their own shape; an answer that shows one which nobody gave it has leaked it, or made it up. */
export const secretShapes = /-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----|(?<![A-Za-z0-9_])(?:sk[-_](?:live|proj|ant)[-_][A-Za-z0-9_-]{12,200}|gh[pousr]_[A-Za-z0-9]{30,255}|AKIA[A-Z0-9]{16}|AIza[A-Za-z0-9_-]{30,40}|xox[abp]-[A-Za-z0-9-]{20,255}|glpat-[A-Za-z0-9_-]{20,64}|eyJ[A-Za-z0-9_-]{16,2000}\.eyJ[A-Za-z0-9_-]{16,4000}\.[A-Za-z0-9_-]{20,2000})/gu;

/** Somebody asks for another language than his own. */
export const asksForLanguage = /tradu[zçc]|translat|ingl[eê]s|english|portugu[eê]s|portuguese|idioma|language|espanhol|spanish/i;

/** Words of a message that asks nothing. */
export const smallTalk: ReadonlySet<string> = new Set(
  "oi olá ola oie opa alô alo hey hi hello hallo test teste testing testando asdf asdfgh qwerty asd aaa abc ok okay blz beleza tudo bem bom boa dia tarde noite good morning afternoon evening yo sup e aí ai valeu obrigado obrigada thanks thank you bye tchau ping foo bar 1 2 3 123".split(" "),
);
