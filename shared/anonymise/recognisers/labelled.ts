/** Numbers of ten and eleven digits look alike, and one in a hundred has the check digits of another kind: a label directly before them decides. */
import { after, bounded, type Recogniser } from "../recogniser.ts";

export const labelled: readonly Recogniser[] = [
  { kind: "CNH", pattern: bounded(String.raw`[A-Z]{0,2}\d[\d-]{5,11}\d`), context: after("cnh|habilitação|carteira de motorista|driver'?s licen[cs]e|driving licen[cs]e|driver licen[cs]e"), digits: 6, lead: 2 },
  // "habilitação do condutor João Lima: 123…"
  { kind: "CNH", pattern: bounded(String.raw`\d{11}`), context: after("(?:cnh|habilitação|carteira de motorista) d[aeo] [\\p{L} .'’-]{2,50}:"), digits: 11 },
  { kind: "PIS", pattern: bounded(String.raw`\d{3}[. ]?\d{5}[. ]?\d{2}[- ]?\d`), context: after("pis|pasep|nis|nit|pis/pasep"), digits: 11 },
  { kind: "TELEFONE", pattern: bounded(String.raw`\(?\d(?:[ ().-]{0,2}\d){7,12}`), context: after("tel|tels|telefones?|fone|fax|fone/fax|celular|cel|whats(?:app)?|zap|phones?|telephone|mobile|cell"), digits: 8, lead: 1 },
];
