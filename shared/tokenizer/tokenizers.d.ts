/** The part of @huggingface/tokenizers that we use: its own declarations import without extensions, which Node's resolution can't follow. */
declare module "@huggingface/tokenizers" {
  export class Tokenizer {
    constructor(tokenizer: object, config: object);
    encode(text: string, options?: { add_special_tokens?: boolean }): { ids: number[] };
    decode(ids: number[], options?: { skip_special_tokens?: boolean; clean_up_tokenization_spaces?: boolean }): string;
    token_to_id(token: string): number | undefined;
    get_added_tokens_decoder(): Map<number, { readonly content: string; readonly special: boolean }>;
    get_vocab(withAddedTokens?: boolean): Map<string, number>;
  }
}
