/** Keys, passwords and credentials. They need no digits, so each names what a text must have to be looked at. */
import { after, bounded, near, type Recogniser } from "../recogniser.ts";

const labels = String.raw`api[_ -]?keys?|api[_ -]?token|secret(?:[_ -]?key)?|access[_ -]?(?:key|token)|auth[_ -]?token|client[_ -]?secret|private[_ -]?key|refresh[_ -]?token|token|chave(?: de| da)? api|chave secreta|chave de acesso`;
/** Label first, then the value: the expression starts where a label is, and nowhere else. */
const labelledKey = new RegExp(String.raw`(?:${labels})["'\x60]?\s{0,3}(?:é|eh|is|=>|->|[:=])\s{0,3}["'\x60]?(?<value>[A-Za-z0-9_./+=-]{12,512})`, "giu");
const passwordLabels = String.raw`(?:senhas?|passwords?|passwd|pwd|passphrase|passcode|contraseña)(?: (?:atual|antiga|nova|dele|dela|do wi-?fi|da rede|do banco|do e-?mail|do sistema|do portal|provisória|temporária|inicial))?`;
const labelledPassword = new RegExp(String.raw`${passwordLabels}["'\x60]?\s{0,3}(?:é|eh|era|foi|is|was|=>|->|[:=])\s{0,3}["'“\x60]?(?<value>[^\s"'“”\x60<>,;]{4,64})`, "giu");
/** Without such a sign "the password is wrong" would lose a word. */
const looksSecret = (value: string) => value.length >= 4 && /\d|[^\p{L}\p{N}.,!?…]|\p{Ll}\p{Lu}/u.test(value.replace(/[.,!?;:)]+$/, "")) && !/^(?:https?:\/\/|\*+$|<|\{|\$\{?[A-Z_]+\}?$|process\.env|os\.(?:environ|getenv)|getenv|x{4,}$)/i.test(value);
/** Shapes by which the services that gave them out know their keys. */
const shapes = [
  String.raw`(?:sk|pk|rk)[-_](?:(?:test|live|proj|ant|or|svcacct|admin)[-_a-z0-9]{0,12}?[-_])?[A-Za-z0-9_-]{6,200}`,
  String.raw`gh[pousr]_[A-Za-z0-9]{16,255}`,
  String.raw`github_pat_[A-Za-z0-9_]{20,255}`,
  String.raw`glpat-[A-Za-z0-9_-]{16,64}`,
  String.raw`xox[abposr]-[A-Za-z0-9-]{10,255}`,
  String.raw`(?:AKIA|ASIA)[A-Z0-9]{16}`,
  String.raw`AIza[A-Za-z0-9_-]{30,40}`,
  String.raw`ya29\.[A-Za-z0-9_-]{20,255}`,
  String.raw`hf_[A-Za-z0-9]{20,64}`,
  String.raw`npm_[A-Za-z0-9]{30,40}`,
  String.raw`SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{20,64}`,
  String.raw`everlora_[A-Za-z0-9_-]{16,64}`,
  String.raw`dop_v1_[a-f0-9]{32,80}`,
  String.raw`whsec_[A-Za-z0-9]{16,64}`,
  String.raw`APP_USR-[A-Za-z0-9-]{16,120}`,
].join("|");

/** "senha Gato#2024": without a sign between, only what no word looks like. */
const barePassword = new RegExp(String.raw`${passwordLabels} ["'“\x60]?(?<value>[^\s"'“”\x60<>,;]{6,64})`, "giu");
const looksRandom = (value: string) => looksSecret(value) && /\p{L}/u.test(value) && /\d/.test(value);

/** "my password, it was Tr0ub4dor&3": letters, digits and a sign that no word, number or address has. */
const strongPassword = String.raw`(?<![^\s"'“(])(?=[\p{L}\d!#$%&*+._-]{0,40}[!#$%&*+])[\p{L}\d!#$%&*+._-]{6,40}`;

/** The value first, in quotation marks, then what it is. */
const quotedPassword = /(?<=["'“\x60])[^\s"'“”\x60<>,;]{6,64}(?=["'”\x60] (?:is|was|as|an?|é|era|como|uma|serve) (?:\p{L}{1,12} ){0,4}(?:senhas?|pass(?:word|phrase|code)s?)(?!\p{L}))/giu;

export const secrets: readonly Recogniser[] = [
  // A bot's token at Telegram.
  { kind: "CHAVE_API", pattern: bounded(String.raw`\d{8,10}:AA[A-Za-z0-9_-]{32,35}`), digits: 8 },
  { kind: "SENHA", pattern: new RegExp(strongPassword, "gu"), check: looksRandom, context: near("senhas?|passwords?|pwd?|passwd|passphrase|sshpass"), digits: 1, lead: 40 },
  { kind: "CHAVE_API", pattern: /-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----(?:[\s\S]{0,8000}?-----END [A-Z ]{0,30}PRIVATE KEY-----|[\s\S]{0,8000})/gu, onlyWith: ["-----BEGIN"] },
  { kind: "CHAVE_API", pattern: bounded(shapes), startsWith: "sk|pk|rk|gh[pousr]|github|glpat|xox|AKIA|ASIA|AIza|ya|hf|npm|SG|everlora|dop|whsec|APP" },
  { kind: "CHAVE_API", pattern: bounded(String.raw`eyJ[A-Za-z0-9_-]{6,2000}\.[A-Za-z0-9_-]{6,4000}(?:\.[A-Za-z0-9_-]{0,2000})?`), startsWith: "eyJ" },
  { kind: "CHAVE_API", pattern: /(?<=[Bb]earer )[A-Za-z0-9._~+/=-]{12,4000}/gu, onlyWith: ["earer"] },
  { kind: "CREDENCIAL", pattern: /(?<=:\/\/)[^\s/:@]{0,128}:[^\s/]{1,256}(?=@[\p{L}\p{N}[])/gu, check: (value) => !/^user(?:name)?:(?:pass(?:word)?)$/i.test(value), onlyWith: ["://"] },
  { kind: "CREDENCIAL", pattern: /(?<=[?&](?:token|access_token|refresh_token|id_token|api_?key|key|secret|client_secret|password|pwd|senha|sig|signature|auth|session|code)=)[^\s&#"'<>)\]]{4,512}/giu, onlyWith: ["="] },
  { kind: "CHAVE_API", pattern: labelledKey, check: (value) => /\d/.test(value) && /[A-Za-z]/.test(value) && !/^(?:https?:|\.\/|process\.)/.test(value), onlyWith: ["key", "secret", "token", "chave"] },
  { kind: "SENHA", pattern: labelledPassword, check: looksSecret, onlyWith: ["senha", "pass", "pwd", "contrase"] },
  // "is 'Gato2024' a good password?"
  { kind: "SENHA", pattern: quotedPassword, check: looksRandom, onlyWith: ["senha", "password", "passphrase", "passcode"] },
  { kind: "SENHA", pattern: barePassword, check: looksRandom, onlyWith: ["senha", "pass", "pwd"] },
  { kind: "SENHA", pattern: bounded(String.raw`\d{4,8}`), context: after("código de verificação|código de acesso|código de confirmação|código de segurança do app|código sms|verification code|access code|one-time code|one-time password|otp|senha|password"), digits: 4 },
  { kind: "SENHA", pattern: bounded(String.raw`\d{4,8}`), context: near("pin|pin code|senha de \\d d[ií]gitos"), digits: 4 },
];
