/**
 * One spelling for the same text, before anything looks at it: what is invisible or only looks different must hide nothing from the anonymiser
 * ("529.982.247\u201125", full-width digits, zero-width characters) nor from the search for duplicates.
 */
export function normaliseText(text: string): string {
  return needsWork.test(text) ? normalised(text) : text;
}

/** Almost every text is as it should be: letters of ASCII and Latin-1 and the usual signs, no white space too much. All else is looked at in full. */
const needsWork = /[^\n -~\u00a1-\u00ac\u00ae-\u00ff\u2013\u2014\u2018-\u201f\u2022\u2026\u20ac]|[ \n]$|^[ \n]| \n|\n\n\n|[\u2013\u2014]\d/;

function normalised(text: string): string {
  return text
    .normalize("NFC")
    .replace(/\r\n?/g, "\n")
    .replace(invisible, "")
    .replace(/[\u00a0\u2000-\u200a\u202f\u205f\u3000]/g, " ")
    .replace(/[\uff01-\uff5e\u{1d7ce}-\u{1d7ff}]/gu, (character) => character.normalize("NFKC"))
    .replace(/[\u0660-\u0669\u06f0-\u06f9]/g, (digit) => String(digit.charCodeAt(0) & 0xf))
    .replace(/(?<=[\p{L}\p{N})])[\u2010-\u2015\u2212](?=\d)/gu, "-")
    .replace(/[ \t]+$/gm, "")
    .replace(/\n{3,}/g, "\n\n")
    .trim();
}

// Control characters, zero-width spaces, soft hyphens, marks of direction; joiners only where they join nothing (inside Latin words and numbers).
const invisible = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]|(?<=[\p{Script=Latin}\d@.-])[\u200c\u200d](?=[\p{Script=Latin}\d@.-])/gu;
