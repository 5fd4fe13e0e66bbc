/**
 * What the semantic tier knows about Portuguese and English, as tables: by which words a language shows, which words carry no meaning of their
 * own, and which phrases ask the same. Keys are lower case with accents folded. Whatever is not in a table counts as meaning: a row too few
 * costs a hit, a wrong row serves a wrong answer. (`obrigado` isn't dropped anywhere but at the end: "sou obrigado a pagar?" asks about a duty.)
 */
export type Language = "pt" | "en" | "unknown";

interface LanguageTable {
  /** Function words that hardly occur in the other language. */
  readonly marks: ReadonlySet<string>;
  /** Articles; and in Portuguese the preposition `a` with its articles, which the articles' own spelling can't be told from. */
  readonly dropped: ReadonlySet<string>;
  /** Spellings of one word. */
  readonly spellings: Readonly<Record<string, string>>;
  /** Phrase → the shorter phrase that asks the same. Longest first. */
  readonly phrases: readonly (readonly [string, string])[];
  /** Polite openings and endings. */
  readonly openings: readonly string[];
  readonly endings: readonly string[];
  readonly negations: ReadonlySet<string>;
}

const set = (words: string): ReadonlySet<string> => new Set(words.split(" "));

export const languages: Readonly<Record<Exclude<Language, "unknown">, LanguageTable>> = {
  pt: {
    marks: set("o os um uma uns umas de da das dos em na nas pelo pela para pra com sem que qual quais quem como onde quando quanto quanta quantos quantas por porque e ou eu voce ele ela nos eles elas meu minha meus minhas seu sua seus suas nao nem sim mais muito esta este isso isto aquele ser ter estar foi sao tem pode posso quero preciso gostaria favor obrigado obrigada ola oi ate entre sobre depois antes ainda tambem ja"),
    dropped: set("o a os as um uma uns umas ao aos"),
    spellings: { do: "de", da: "de", dos: "de", das: "de", na: "em", no: "em", nas: "em", pra: "para", pras: "para", pros: "para", vc: "voce", vcs: "voces", tb: "tambem", tbm: "tambem", pq: "porque" },
    phrases: [
      ["como eu faco para", "como"], ["como e que eu faco para", "como"], ["como que eu faco para", "como"], ["como faco para", "como"], ["como fazer para", "como"],
      ["como eu posso", "como"], ["como posso", "como"], ["o que e", "que e"], ["qual e", "qual"], ["quais sao", "quais"],
    ],
    openings: ["voce poderia me dizer", "voce pode me dizer", "poderia me dizer", "pode me dizer", "eu gostaria de saber", "gostaria de saber", "eu queria saber", "queria saber", "eu quero saber", "quero saber", "me diga", "por favor", "por gentileza"],
    endings: ["por favor", "por gentileza", "muito obrigado", "muito obrigada", "obrigado", "obrigada"],
    negations: set("nao nem sem nunca jamais nenhum nenhuma nada ninguem"),
  },
  en: {
    marks: set("the an of to in on at with without for from by is are was were be been have has had does did can could would should will may might must what which who how where when why i you he she it we they my your his her its our their not and or but this that these those there please thanks hello if than about into"),
    dropped: set("the a an"),
    spellings: { cannot: "can not", dont: "do not", cant: "can not", wont: "will not", isnt: "is not", doesnt: "does not" },
    phrases: [["how do i", "how to"], ["how can i", "how to"], ["how could i", "how to"], ["how do you", "how to"], ["how should i", "how to"]],
    openings: ["could you please tell me", "can you please tell me", "could you tell me", "can you tell me", "please tell me", "tell me", "i would like to know", "i want to know", "please"],
    endings: ["please", "thank you very much", "thank you", "thanks"],
    negations: set("not no nor never none nobody nothing without neither hardly"),
  },
};

/** A greeting counts as one only before punctuation: "Oi" is also a company. */
export const greeting = /^(?:\s*(?:oi|ola|bom dia|boa tarde|boa noite|hi|hello|hey|good morning|good afternoon|good evening)(?: there| pessoal| all)?\s*[,!.;:\n]+)+\s*/;

/** English endings behind an apostrophe. */
export const apostrophes: readonly (readonly [RegExp, string])[] = [
  [/\bcan['’]t\b/g, "can not"],
  [/\bwon['’]t\b/g, "will not"],
  [/n['’]t\b/g, " not"],
  [/\b(what|who|how|where|when|it|that|there|he|she)['’]s\b/g, "$1 is"],
  [/['’]re\b/g, " are"],
  [/['’]ll\b/g, " will"],
  [/['’]ve\b/g, " have"],
  [/\bi['’]m\b/g, "i am"],
  [/\bi['’]d like\b/g, "i would like"],
];
