/** Portuguese or English, by function words and letters. Small and deterministic; other languages come out as unknown when they share few words with these two. */
import type { Lexeme, Word } from "./words.ts";

export type Language = "pt" | "en" | "unknown";

const list = (words: string) => new Set(words.split(" "));

// Words that are common in one language and rare in the other (so "a", "as", "do", "no", "me" are in neither list).
const portuguese = list(
  "que de da das dos em um uma para por com nao e é os eu voce meu minha seu sua meus minhas na nas nos ao aos pelo pela mais mas como quando onde qual quais quanto quem se ser foi esta estou estava sao tem tenho ter isso isto esse essa este eles ela ele nós ou porque ja tambem muito muita depois antes sem ate entre sobre posso pode preciso fazer faco quero ola oi obrigado obrigada bom boa dia hoje ontem amanha ainda so vou vai sim",
);
const english = list(
  "the of and to in is are was were be been it its it's that this these those for with on at by from you your i my we our they their he she his her an or not but if what when where which who how why can could should would will do does did don't doesn't didn't have has had i'm i've there then than more just about into after before please thanks thank hello hi yes also any some because while",
);

/** Portuguese letters that English does not have. */
const portugueseLetters = /[ãõçáéíóúâêôà]/u;

const mostWords = 600;

/** In halves, which makes it an integer: above 0 for Portuguese, by how much; -2 for English, -3 where a Portuguese letter is in it all the same. */
function voteOf({ text, plain }: Lexeme): number {
  const letters = portugueseLetters.test(text) ? 1 : 0;
  return portuguese.has(text) || portuguese.has(plain) ? whole + letters : english.has(text) ? -whole - letters : letters;
}

const whole = 2;

export function detectLanguage(words: readonly Word[]): Language {
  let ptHalves = 0;
  let enHalves = 0;
  const length = Math.min(words.length, mostWords);
  for (let at = 0; at < length; at++) {
    const lexeme = words[at]?.lexeme;
    if (lexeme === undefined) break;
    const vote = (lexeme.vote ??= voteOf(lexeme));
    if (vote > 0) ptHalves += vote;
    else if (vote < 0) {
      enHalves += whole;
      ptHalves += -whole - vote;
    }
  }
  const [pt, en] = [ptHalves / whole, enHalves / whole];
  const most = Math.max(pt, en);
  // One stray word says nothing in a long text, and all there is in a short one.
  if (most < Math.min(2, words.length * 0.34) || most < words.length * 0.08 || most < 1.5 * Math.min(pt, en)) return "unknown";
  if (pt === en) return "unknown";
  return pt > en ? "pt" : "en";
}
