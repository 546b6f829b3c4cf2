// What travels between page and gateway, and what the page keeps of it. Only the type checker
// reads this.

export interface Component { reference: number; modifier: number }
export type Share = Component;
export interface Components { image: Component; captions: Component[] }
export interface Norm { reference: number; cross: number; modifier: number }
/** `captions` is empty in text_reference "image": `image` serves every slot. */
export interface Norms { image: Norm; captions: Norm[] }

export interface Weighed {
  /** Rounded to f32, by which candidates are ordered. */
  similarity: number;
  s_img: number;
  s_txt: number | null;
  pixels: Share;
  /** The means over the captions; null for an image without captions. */
  words: Share | null;
  /** One for each caption that counts. */
  shares: Share[];
}

export interface Caption { text: string; similarity: number | null }
export interface Candidate {
  image: string;
  similarity: number;
  s_img: number;
  s_txt: number | null;
  captions: Caption[];
  source: string;
  metadata: Record<string, unknown>;
  components: Components;
}
/** A candidate at the weights of the moment. */
export type Result = Omit<Candidate, keyof Weighed> & Weighed;

export interface Answer {
  candidates: Candidate[];
  collection: string;
  model: string;
  alpha: number;
  beta: number;
  text_reference: TextReference;
  images: number;
  partial: boolean;
  missing_shards: number[];
  warnings: string[];
  took_ms: number;
  norms: Norms;
}

export type TextReference = "image" | "caption";
export type Kind = "keyword" | "integer" | "float" | "timestamp" | "boolean";
export interface Collection {
  name: string;
  model: string | null;
  images: number;
  captioned: number;
  fields: Record<string, Kind>;
}
export interface Image {
  id: string;
  source: string;
  metadata: Record<string, unknown>;
  captions: string[];
}

/** A picture to start from: one of the gallery, one of the reader's own, or one that a link could not hold. */
export type Reference = { id: string } | { file: Blob; name: string; url: string } | { lost: true };

/** What a filter's controls hold, by field: text, from and to, or a choice. */
export type FilterValues = Record<string, { is?: string; from?: string; to?: string }>;

export interface Query {
  collection: string;
  reference: Reference | null;
  modifier: string;
  /** Null: what suits the model. */
  alpha: number | null;
  beta: number | null;
  textReference: TextReference;
  negative: string;
  gamma: number;
  more: string[];
  less: string[];
  filter: FilterValues;
}

export interface Step { query: Query; answer: Answer | null }

export interface Problem { code: string; status: number; title: string; detail: string }

export type ImageState = "sending" | "waiting" | "searchable" | "captioned" | "present" | "failed" | "refused";
/** A file on its way into the gallery. */
export interface Arrival { key: number; file: File; collection: string; name: string; url: string; id: string | null; state: ImageState; reason: string }
