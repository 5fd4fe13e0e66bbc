/** The domain of what belongs to no other. */
export const fallbackDomain = "general";
