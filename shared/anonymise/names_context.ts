/** What stands before a name. Three strengths: after a strong one anything capitalised is a name, after a relation nearly so, after a weak one only a known first name. */
import { copied } from "../domains/units.ts";
import { withoutAccents } from "../domains/words.ts";
import { begin } from "./recogniser.ts";

/** Enough for the longest phrase below. */
const nameContextLength = 48;

const titles =
  "srt?a|sr|sr\\.?ª|dra?|drª|dª|col|gen|lt|sgt|capt|rev|ir|mrs?|ms|miss|profa?|eng|doutora?|ministr[oa]|min|desembargadora?|des|ju[ií]z(?:a)?|relatora?|rel|procuradora?|promotora?|senadora?|deputad[oa]|vereadora?|prefeit[oa]|governadora?|presidente|delegad[oa]|tabeliã[o]?|perit[oa]|capitão|coronel|sargento|padre|pastora?|judge|justice|senator|captain|sergeant|officer|detective|sir|lady|nurse|coach";
const titleEnds = "d col gen lt sgt capt rev ir sr sra srta dr dra mr mrs ms miss prof profa eng doutor doutora ministro ministra min desembargador desembargadora des juiz juiza relator relatora rel procurador procuradora promotor promotora senador senadora deputado deputada vereador vereadora prefeito prefeita governador governadora presidente delegado delegada tabelia tabeliao perito perita capitao coronel sargento padre pastor pastora judge justice senator captain sergeant officer detective sir lady nurse coach";

const strong = new RegExp(
  String.raw`${begin}(?:me chamo|eu,|meu nome(?: completo| todo)? é|meu nome(?: completo)?:|(?:nome|name)(?: completo| social| d[aoe]s? \p{L}{3,12}(?: \p{L}{3,12})?)?\*{0,2}["']?\s*[:=|>]\s*\*{0,2}["']?|full name(?: is|:)|(?:first|last|sur|full|given|middle|family)[ _-]?names?["']?\s*[:=|>]\s*["']?|(?:customer|client|patient|user|contact|holder|owner|author|assignee|cliente|paciente|usuári[oa]|titular|responsável|dono|dona|beneficiary|favorecid[oa]|locatári[oa]|locadora?|landlord|landlady|tenant|witness|payee|candidate|guest|passenger|passageir[oa]|payer|subject|filiação|caller|contato|autora?|réu|ré|parte|testemunha|remetente|destinatário|beneficiári[oa]|recipient|sender|plaintiff|defendant|signed|assinado|requerente|requerid[oa]|impetrante|impetrad[oa]|recorrente|recorrid[oa]|apelante|apelad[oa]|agravante|agravad[oa]|reclamante|reclamad[oa]|exequente|executad[oa]|embargante|embargad[oa]|advogad[oa](?:\(a?s?\))?|interessad[oa]|from|to|para|de|cc)(?:[ _]?name|\(a?s?\)|\(s\))?["']?\s*[:=|]\s*["']?|my (?:full )?name(?: is|'s|’s|:)|(?:his|her|their) name is|o nome del[ae] é|em nome d[eao]|in the name of|on behalf of|chamad[oa]|(?:eu )?sou [oa]|aqui é [oa]|que se chama|se chama|atende por|(?:${titles})\.?|signed by|assinado por|assinada por|aos cuidados de|a/c:?|attn:?|sincerely,|regards,|atenciosamente,|cordialmente,|att\.?,|abraços?,|abs,|cheers,|best,|yours,|nome d[aeo] m[ãa]e[: ]|filh[oa] de|named|called)\s*$`,
  "iu",
);
/** Last words of the strong phrases that are rarely anything else. */
const strongEnds = new Set(`chamo chamado chamada chama sincerely regards atenciosamente cordialmente att attn c abraco abracos abs cheers best yours named called ${titleEnds}`.split(" "));
/** Last words of the others: each may be much else, so the phrase has the last word. */
const linkingEnds = new Set("e eh eu is s of o a de da do por by mae ma".split(" "));

const addressed =
  String.raw`sou|sou [oa]|eu sou [oa]|aqui é|aqui é [oa]|aqui quem (?:fala|escreve) é(?: [oa])?|aqui,|i'?’?m(?: now)?|its|it’s|names?|nome|assinado|(?:sent|paid|written|signed|owned|prepared|reviewed|called) by|tell|ask|um tal de|sou eu,?|i am(?: now)?|i’m(?: now)?|contact is|contato é|formerly|antes|instead of|this is|it's|it is|olá|oi|hi|hello|hey|dear|car[oa]|prezad[oa]|querid[oa]|obrigad[oa]|thanks|thank you|bom dia|boa tarde|boa noite|good morning|welcome|bem-vind[oa]|fal[aeo]\w* com|falei com|contatar|contato com|contact|call|calls?|e-?mail|text|message|write to|lig(?:ar|ue|uei) para(?: [oa])?|cham[ae]r?|vovó|vovô|spoke (?:to|with)|talked to|ask for|procurar|com [oa]|para [oa]|seu|dona|dom|senhora?|tia|tio|told|asked|met`;
const weak = new RegExp(String.raw`${begin}(?:${addressed}|d[oa]|pel[oa]|[oa]|ao|à|que)[,:!]?\s*$`, "iu");
/** The same without articles, which stand before places and things too. */
const weakOfPerson = new RegExp(String.raw`${begin}(?:${addressed})[,:!]?\s*$`, "iu");
/** Who says "sou Xênia," names himself: nationalities are written small in Portuguese, and in English are in no list of names' never-words but in this one. */
const introduced = new RegExp(String.raw`${begin}(?:(?:eu )?sou|i'?’?m|it'?’?s|aqui é|aqui quem fala é|this is)\s$`, "iu");
const introducedEnds = new Set("sou m im its s e is".split(" "));
const endOfIntroduction = /^(?:[,.!]? (?:and|e|from|here|passaporte|cpf|rg)\b|,|$)/;
/** Labels before which nothing but a name stands, even in capitals alone. */
const nameLabel = /(?:name|nome|names|paciente|patient|titular|m[ãa]e|pai)["']?\s*[:=|>]\s*["']?$/iu;
/** Places, things and companies are called after people. */
const placeWords = new Set("rua avenida av praca travessa alameda rodovia estrada viaduto ponte bairro vila jardim parque cidade municipio estadio teatro museu hospital clinica escola colegio faculdade universidade instituto fundacao maternidade aeroporto estacao edificio condominio shopping hotel banco igreja catedral capela cemiterio serra rio lago ilha estadual municipal lake mount street avenue road bridge airport university school hospital college museum foundation institute station stadium hotel".split(" "));
/** What opens a letter or closes it: a name if it ends there ("Oi Noemi, …"). */
const greeting = new RegExp(String.raw`${begin}(?:olá|oi|oie|hi|hello|hey|dear|car[oa]|prezad[oa]|querid[oa]|obrigad[oa]|thanks|thank you|bom dia|boa tarde|boa noite|good (?:morning|afternoon|evening)),?\s$`, "iu");
const greetingEnds = new Set("ola oi oie hi hello hey dear caro cara prezado prezada querido querida obrigado obrigada thanks you dia tarde noite morning afternoon evening".split(" "));
const endOfGreeting = /^(?:[,!.\n]|$)/;
/** Ana Souza <ana@example.com> */
const mailbox = /^ ?<[^>\s]{1,64}(?:@|\[EMAIL\])/;

/** The same where a capitalised word follows the first name. */
const weakBeforeTwo = new RegExp(String.raw`${begin}(?:and|e|with|by|por|from|de|to|for|ref\.|tell|about|sobre|ao|à|que)[,:]?\s*$`, "iu");

const relations =
  "marido esposa esposo mulher namorado namorada noivo noiva filho filha filhinho filhinha pai mãe irmã irmão avô avó tia tio primo prima sobrinho sobrinha neto neta cunhado cunhada sogro sogra genro nora ex-marido ex-mulher enteado enteada chefe vizinho vizinha amigo amiga colega sócio sócia advogado advogada médico médica paciente cliente client inquilino inquilina locador locadora proprietário proprietária professor professora gerente atendente funcionário funcionária psicólogo psicóloga dentista enfermeiro enfermeira vendedor vendedora síndico síndica réu ré autor autora requerente requerido requerida testemunha vítima plaintiff defendant victim witness husband wife spouse partner boyfriend girlfriend fiancé fiancée fiance fiancee son daughter father mother brother sister grandmother grandfather grandma grandpa uncle aunt cousin nephew niece boss manager neighbor neighbour friend colleague coworker roommate tenant landlord landlady lawyer attorney doctor patient customer employee teacher therapist agent assistant mum mom dad supervisor padrinho madrinha afilhado afilhada babá diarista cuidador cuidadora faxineira porteiro motorista secretário secretária coordenador coordenadora diretor diretora estagiário estagiária aluno aluna orientador orientadora corretor corretora contador contadora pediatra ginecologista cardiologista ortopedista oncologista fisioterapeuta nutricionista cirurgião cirurgiã obstetra padrasto madrasta bisavó bisavô vó vô companheiro companheira dona stepfather stepmother stepson stepdaughter nanny babysitter carer caregiver tutor mentor paediatrician pediatrician dentist surgeon physician cardiologist physiotherapist nutritionist realtor accountant grandson granddaughter godfather godmother godson goddaughter ex-husband ex-wife mother-in-law father-in-law sister-in-law brother-in-law son-in-law daughter-in-law mommy daddy titular gestante condutor condutora passageiro passageira funcionario funcionaria beneficiário beneficiária favorecido favorecida locatário locatária dono hóspede candidato candidata candidate passenger payee beneficiary rep subject pct pcte pt nurse signed gran granny viúva falecido falecida menor genitor genitora segurado segurada filiação impetrante impetrado exequente executado reclamante reclamada apelante apelado agravante embargante pupil".split(" ");
const relation = new RegExp(String.raw`${begin}(?:(?:me[us]|minhas?|my|our|noss[oa]|seu|sua|his|her|d[oa]|[oa]|the)\s)?(?:${relations.join("|")})(?: de \d{1,3} anos)?,?\s\(?$`, "iu");
const relationEnds = new Set([...relations.map((word) => withoutAccents(word).split("-").at(-1) ?? ""), "anos"]);

const saintWords = new Set("sao santa santo san saint st".split(" "));
/** The same on a text's end. */
export const saint = new RegExp(String.raw`${begin}(?:são|santa|santo|san|saint|st\.?)\s$`, "iu");

/** What stands before a place; looked at from the cheapest to the dearest. */
export interface Before {
  /** Bits of what the last word may be the end of. */
  readonly ends: number;
  /** A label's colon or the like stands between it and the place. */
  readonly label: boolean;
  /** The phrases are looked for in what `nameContextLength` characters hold. */
  readonly text: string;
  readonly start: number;
}

export function beforeOf(text: string, start: number): Before {
  let end = start;
  let label = false;
  const least = Math.max(0, start - 8);
  while (end > least && !isLetter(text.charCodeAt(end - 1))) {
    const code = text.charCodeAt(--end);
    if (code === 58 || code === 61 || code === 124 || code === 62) label = true; // : = | >
  }
  let from = end;
  while (from > 0 && end - from < 24 && isLetter(text.charCodeAt(from - 1))) from--;
  return { ends: endsOf(text.slice(from, end)), label, text, start };
}

const textOf = ({ text, start }: Before) => text.slice(Math.max(0, start - nameContextLength), start);

/** Latin letters and combining accents. */
const isLetter = (code: number) => (code >= 97 && code <= 122) || (code >= 65 && code <= 90) || (code >= 0xc0 && code <= 0x24f) || (code >= 0x300 && code <= 0x36f);

const mostRemembered = 20_000;
const longestRemembered = 30;

/** What is made of words, kept for the next text, because texts repeat them; all is forgotten before it grows large. */
function remembering<T>(make: (word: string) => T): (word: string) => T {
  const known = new Map<string, T>();
  return (word) => {
    const there = known.get(word);
    if (there !== undefined) return there;
    if (word.length > longestRemembered) return make(word);
    const own = copied(word);
    const made = make(own);
    if (known.size > mostRemembered) known.clear();
    known.set(own, made);
    return made;
  };
}

/** Without accents and case. */
export const foldedWord = remembering((word) => withoutAccents(word).toLowerCase());

/** What a phrase's last word is a sign of, as bits. */
const strongSign = 1;
const relationSign = 2;
const greetingSign = 4;
const introductionSign = 8;
const placeSign = 16;
const saintSign = 32;
const signs = new Map<string, number>();
for (const [sign, words] of [
  [strongSign, strongEnds],
  [strongSign, linkingEnds],
  [relationSign, relationEnds],
  [greetingSign, greetingEnds],
  [introductionSign, introducedEnds],
  [placeSign, placeWords],
  [saintSign, saintWords],
] as const) {
  for (const word of words) signs.set(word, (signs.get(word) ?? 0) | sign);
}

const endsOf = remembering((word) => signs.get(foldedWord(word)) ?? 0);

const isEndOf = ({ ends }: Before, sign: number) => (ends & sign) !== 0;
export const isStrong = (before: Before) => (before.label || isEndOf(before, strongSign)) && strong.test(textOf(before));
export const isWeak = (before: Before) => weak.test(textOf(before));
export const isWeakOfPerson = (before: Before) => weakOfPerson.test(textOf(before));
export const isWeakBeforeTwo = (before: Before) => weakBeforeTwo.test(textOf(before));
/** @param end where the name would end */
export const isGreeted = (before: Before, text: string, end: number) => isEndOf(before, greetingSign) && greeting.test(textOf(before)) && endOfGreeting.test(text.slice(end, end + 1));
/** @param end where the name would end */
export const isIntroduced = (before: Before, text: string, end: number) => isEndOf(before, introductionSign) && introduced.test(textOf(before)) && endOfIntroduction.test(text.slice(end, end + 14));
export const isLabelled = (before: Before) => before.label && nameLabel.test(textOf(before));
export const isOfPlace = (before: Before) => isEndOf(before, placeSign);
export const isMailbox = (text: string, end: number) => text.charCodeAt(end + 1) === 60 && mailbox.test(text.slice(end, end + 72));
export const isRelation = (before: Before) => isEndOf(before, relationSign) && relation.test(textOf(before));
/** São Francisco and Santa Clara are places first. */
export const isSaint = (before: Before) => isEndOf(before, saintSign);
