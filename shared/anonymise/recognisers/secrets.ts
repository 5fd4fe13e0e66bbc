/** Keys, passwords and credentials. */
import { after, bounded, near, type Recogniser } from "../recogniser.ts";

const labels = String.raw`api[_ -]?keys?|api[_ -]?token|secret(?:[_ -]?key)?|access[_ -]?(?:key|token)|auth[_ -]?token|client[_ -]?secret|private[_ -]?key|refresh[_ -]?token|token|chave(?: de| da)? api|chave secreta|chave de acesso`;
/** Without such a sign "the password is wrong" would lose a word. */
const looksSecret = (value: string) => value.length >= 4 && /\d|[^\p{L}\p{N}.,!?…]|\p{Ll}\p{Lu}/u.test(value.replace(/[.,!?;:)]+$/, ""));

export const secrets: readonly Recogniser[] = [
  { kind: "CHAVE_API", pattern: /-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----(?:[\s\S]{0,8000}?-----END [A-Z ]{0,30}PRIVATE KEY-----|[\s\S]{0,8000})/gu, onlyWith: /-----BEGIN/ },
  {
    kind: "CHAVE_API",
    pattern: bounded(
      String.raw`(?:sk|pk|rk)[-_](?:(?:test|live|proj|ant|or|svcacct|admin)[-_a-z0-9]{0,12}?[-_])?[A-Za-z0-9_-]{6,200}|gh[pousr]_[A-Za-z0-9]{16,255}|github_pat_[A-Za-z0-9_]{20,255}|glpat-[A-Za-z0-9_-]{16,64}|xox[abposr]-[A-Za-z0-9-]{10,255}|(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[A-Za-z0-9_-]{30,40}|ya29\.[A-Za-z0-9_-]{20,255}|hf_[A-Za-z0-9]{20,64}|npm_[A-Za-z0-9]{30,40}|SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{20,64}|everlora_[A-Za-z0-9_-]{16,64}|dop_v1_[a-f0-9]{32,80}|whsec_[A-Za-z0-9]{16,64}|APP_USR-[A-Za-z0-9-]{16,120}`,
    ),
  },
  { kind: "CHAVE_API", pattern: bounded(String.raw`eyJ[A-Za-z0-9_-]{6,2000}\.[A-Za-z0-9_-]{6,4000}(?:\.[A-Za-z0-9_-]{0,2000})?`), onlyWith: /eyJ/ },
  { kind: "CHAVE_API", pattern: /(?<=[Bb]earer )[A-Za-z0-9._~+/=-]{12,4000}/gu, onlyWith: /earer / },
  { kind: "CHAVE_API", pattern: /[A-Za-z0-9_./+=-]{12,512}/gu, context: new RegExp(String.raw`(?:${labels})["'\x60]?\s*(?:é|eh|is|=|:|=>|->)\s*["'\x60]?$`, "iu"), check: (value) => /\d/.test(value) && /[A-Za-z]/.test(value), onlyWith: /key|secret|token|chave/i },
  { kind: "CREDENCIAL", pattern: /(?<=:\/\/)[^\s/:@]{0,128}:[^\s/]{1,256}(?=@[\p{L}\p{N}[])/gu, onlyWith: /:\/\// },
  { kind: "CREDENCIAL", pattern: /(?<=[?&](?:token|access_token|refresh_token|id_token|api_?key|key|secret|client_secret|password|pwd|senha|sig|signature|auth|session|code)=)[^\s&#"'<>)\]]{4,512}/giu, onlyWith: /[?&]/ },
  { kind: "SENHA", pattern: /[^\s"'“”`<>,;]{4,64}/gu, context: /(?:senhas?|passwords?|passwd|pwd|passphrase|passcode|contraseña)(?: (?:atual|antiga|nova|dele|dela|do wi-?fi|do banco|do e-?mail|provisória|temporária))?["'`]?\s*(?:é|eh|era|foi|is|was|=|:|=>|->)\s*["'“`]?$/iu, check: looksSecret, onlyWith: /senha|pass|pwd/i },
  { kind: "SENHA", pattern: bounded(String.raw`\d{4,8}`), context: after("código de verificação|código de acesso|código de confirmação|código sms|verification code|access code|one-time code|one-time password|otp|senha|password"), onlyWith: /\d/ },
  { kind: "SENHA", pattern: bounded(String.raw`\d{4,8}`), context: near("pin|pin code|senha de \\d d[ií]gitos"), onlyWith: /pin|senha/i },
];
