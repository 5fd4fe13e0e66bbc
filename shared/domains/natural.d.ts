/** Deep imports of `natural` have no types of their own. Its root import must not be used: it reads `.env`, prints, and opens storage back ends. */
declare module "natural/lib/natural/stemmers/porter_stemmer_pt.js" {
  const stemmer: { stem(token: string): string };
  export default stemmer;
}
declare module "natural/lib/natural/stemmers/porter_stemmer.js" {
  const stemmer: { stem(token: string): string };
  export default stemmer;
}
