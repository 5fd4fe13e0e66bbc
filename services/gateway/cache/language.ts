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
  /** Articles that count when a measure follows: "de um ano" is not "do ano". */
  readonly indefinite: ReadonlySet<string>;
  /** Closed classes whose words turn a question into another however near the rest is: who asks whom, when, where, from where to where, how much, which of two. */
  readonly frame: ReadonlySet<string>;
  /** With these first, a text asks even without its question mark. */
  readonly asks: ReadonlySet<string>;
}

const set = (words: string): ReadonlySet<string> => new Set(words.split(" "));

export const languages: Readonly<Record<Exclude<Language, "unknown">, LanguageTable>> = {
  pt: {
    marks: set("o os um uma uns umas de da das dos em na nas pelo pela para pra com sem que qual quais quem como onde quando quanto quanta quantos quantas por porque e ou eu voce ele ela nos eles elas meu minha meus minhas seu sua seus suas nao nem sim mais muito esta este isso isto aquele ser ter estar foi sao tem pode posso quero preciso gostaria favor obrigado obrigada ola oi ate entre sobre depois antes ainda tambem ja"),
    dropped: set("o a os as um uma uns umas ao aos"),
    spellings: { do: "de", da: "de", dos: "de", das: "de", na: "em", no: "em", nas: "em", pra: "para", pras: "para", pros: "para", vc: "voce", vcs: "voces", tb: "tambem", tbm: "tambem", pq: "porque" },
    phrases: [
      ["um pouco", "algum"], ["uns poucos", "alguns"], ["umas poucas", "algumas"],
      ["qual e a melhor forma de", "como"], ["qual a melhor forma de", "como"], ["qual e a forma de", "como"], ["qual a forma de", "como"], ["qual e a maneira de", "como"], ["qual a maneira de", "como"],
      ["de que forma eu posso", "como"], ["de que forma posso", "como"], ["de que maneira posso", "como"], ["o que eu preciso fazer para", "como"], ["o que preciso fazer para", "como"], ["o que devo fazer para", "como"], ["o que eu faco para", "como"], ["o que faco para", "como"],
      ["como eu faco para", "como"], ["como e que eu faco para", "como"], ["como e que faco para", "como"], ["como e que se faz para", "como"], ["como que eu faco para", "como"], ["como faco para", "como"], ["como fazer para", "como"],
      ["como eu posso", "como"], ["como posso", "como"], ["como consigo", "como"], ["como eu consigo", "como"], ["como eu devo", "como devo"],
      ["o que e que e", "que e"], ["o que e", "que e"], ["o que significa", "que significa"], ["qual e", "qual"], ["qual que e", "qual"], ["quais sao", "quais"], ["onde e que fica", "onde fica"], ["quando e que", "quando"], ["correio eletronico", "email"], ["e mail", "email"], ["e mails", "emails"], ["whats app", "whatsapp"],
    ],
    openings: ["voce poderia me dizer", "voce pode me dizer", "poderia me dizer", "pode me dizer", "eu gostaria de saber", "gostaria de saber", "eu queria saber", "queria saber", "eu quero saber", "quero saber", "me diga", "por favor", "por gentileza"],
    endings: ["por favor", "por gentileza", "muito obrigado", "muito obrigada", "obrigado", "obrigada"],
    negations: set("nao nem sem nunca jamais nenhum nenhuma nada ninguem tampouco exceto menos"),
    indefinite: set("um uma"),
    frame: set("que quem qual quais quando onde aonde como quanto quanta quantos quantas por porque eu voce voces ele ela eles elas nos meu minha meus minhas seu sua seus suas nosso nossa dele dela deles delas me te lhe para de com em ate entre sobre sob desde contra antes depois durante apos mais menos muito pouco todo toda todos todas ambos cada outro outra mesmo so apenas ou e se mas posso pode podem podemos devo deve devem consigo preciso precisa quero quer vou vai vao fui foi foram era eram sera serao seria fosse estou esta estao estava tenho tem tinha tive tera ja ainda sempre primeiro segundo ultimo proximo anterior acima abaixo dentro fora aumentar diminuir abrir fechar ligar desligar comprar vender entrar sair enviar receber ativar desativar dois duas tres quatro cinco seis sete oito nove dez cem mil metade dobro ontem hoje amanha"),
    asks: set("que quem qual quais quando onde aonde como quanto quanta quantos quantas posso pode podem podemos devo deve devem consigo porque cade sera"),
  },
  en: {
    marks: set("the an of to in on at with without for from by is are was were be been have has had does did can could would should will may might must what which who how where when why i you he she it we they my your his her its our their not and or but this that these those there please thanks hello if than about into"),
    dropped: set("the a an"),
    spellings: { cannot: "can not", dont: "do not", cant: "can not", wont: "will not", isnt: "is not", arent: "are not", wasnt: "was not", werent: "were not", doesnt: "does not", didnt: "did not", havent: "have not", hasnt: "has not", hadnt: "had not", couldnt: "could not", wouldnt: "would not", shouldnt: "should not", whats: "what is", wheres: "where is", hows: "how is", im: "i am", ive: "i have", whos: "who is" },
    phrases: [
      ["what do i need to do to", "how to"], ["what do i have to do to", "how to"], ["what should i do to", "how to"], ["what is the best way to", "how to"], ["what is the way to", "how to"], ["what steps do i take to", "how to"],
      ["how would i go about", "how do i go about"], ["how can i go about", "how do i go about"],
      ["how am i able to", "how to"], ["how do i", "how to"], ["how can i", "how to"], ["how could i", "how to"], ["how does one", "how to"], ["how would i", "how to"],
      ["e mail", "email"], ["e mails", "emails"], ["log in", "login"], ["sign in", "login"], ["wi fi", "wifi"], ["web site", "website"], ["wanna", "want to"], ["gonna", "going to"],
    ],
    openings: ["could you please tell me", "can you please tell me", "could you tell me", "can you tell me", "please tell me", "tell me", "i would like to know", "i want to know", "please"],
    endings: ["please", "thank you very much", "thank you", "thanks"],
    negations: set("not no nor never none nobody nothing without neither hardly barely except unless cannot"),
    indefinite: set("a an"),
    frame: set("what which who whom whose how where when why i you he she it we they me him her us them my your his its our their to from of in on at with without for by about into onto over under before after during until since between against through up down off out more less most least much many few little all both each every either other another same only just or and if but than can could do does did is are was were be been has have had will would should may might must shall need want going back again already yet still always first second last next previous above below inside outside increase decrease open close enable disable turn buy sell send receive two three four five six seven eight nine ten hundred thousand half double yesterday today tomorrow"),
    asks: set("what which who whom whose how where when why can could do does did is are was were has have had will would should may might must shall"),
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

/** What is counted or measured: before these an indefinite article is the number one. */
export const measures = set(
  "ano anos mes meses semana semanas dia dias hora horas minuto minutos segundo segundos vez vezes comprimido comprimidos gota gotas colher copo dose doses parcela parcelas unidade unidades real reais metro metros quilo quilos quilometro litro litros caixa pessoa pessoas terco quarto year years month months week weeks day days hour hours minute minutes second seconds time times tablet tablets pill pills drop drops spoon spoonful cup dose doses unit units dollar dollars pound pounds euro euros meter metre mile miles kilo litre liter box person third quarter few little lot couple dozen",
);
