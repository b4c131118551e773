/**
 * Every error that this package raises on purpose. Names and meaning are those of the Python package
 * (src/dpc/errors.py); a message is one line that names the value, the limit and the way out.
 */

/** Base of every error that is raised on purpose. */
export class DPCError extends Error {
  override name = "DPCError";
}

/** The bytes cannot be read as a DPC file. */
export class FormatError extends DPCError {
  override name = "FormatError";
}

/** The first bytes are not those of a DPC file. */
export class NotADPCFile extends FormatError {
  override name = "NotADPCFile";
}

/** A DPC file, but of a format version that this release does not read. */
export class UnsupportedVersion extends FormatError {
  override name = "UnsupportedVersion";
}

/** The bytes end before the file does. */
export class Truncated extends FormatError {
  override name = "Truncated";
}

/** The file breaks a rule of docs/format.md. */
export class Corrupt extends FormatError {
  override name = "Corrupt";
}

/** A size above a limit, refused before memory is taken for it. */
export class TooLarge extends FormatError {
  override name = "TooLarge";
}

/** Something is wrong with the model. */
export class ModelError extends DPCError {
  override name = "ModelError";
}

/** No model of this name or identity is at hand. */
export class UnknownModel extends ModelError {
  override name = "UnknownModel";
}

/** The model is not the one that the file was made with, or it is damaged. */
export class WrongModel extends ModelError {
  override name = "WrongModel";
}

/** The input picture cannot be taken. */
export class ImageError extends DPCError {
  override name = "ImageError";
}

/** An option is outside its range, or two options exclude each other. */
export class OptionError extends DPCError {
  override name = "OptionError";
}

const KINDS = [
  DPCError,
  FormatError,
  NotADPCFile,
  UnsupportedVersion,
  Truncated,
  Corrupt,
  TooLarge,
  ModelError,
  UnknownModel,
  WrongModel,
  ImageError,
  OptionError,
] as const;

/** An error as it crosses from the worker: its name and its line. */
export interface PlainError {
  name: string;
  message: string;
}

/** Any thrown value as a PlainError. */
export function toPlain(error: unknown): PlainError {
  return error instanceof Error
    ? { name: error.name, message: error.message }
    : { name: "Error", message: String(error) };
}

/** The error that toPlain was given, of its own class where that is one of this file. */
export function fromPlain({ name, message }: PlainError): Error {
  if (name === "AbortError") return new DOMException(message, name);
  const kind = KINDS.find((k) => k.name === name || new k().name === name);
  if (kind) return new kind(message);
  const error = new Error(message);
  error.name = name;
  return error;
}
