// Pictures from outside: a file, a drop, the clipboard, the camera.

import { make } from "./elements.js";

const MOST_BYTES = 30e6;
const MOST_PIXELS = 60e6;
const LONGEST = 1024; // a larger picture is made smaller before it is kept

/** A picture from a file, upright, at most LONGEST pixels long. Throws Error(key of a message). */
export async function readPicture(file) {
  if (file.size > MOST_BYTES) throw new Error("draw.too-large");
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new Error("draw.not-a-picture");
  }
  if (bitmap.width * bitmap.height > MOST_PIXELS) throw new Error("draw.too-large");
  const scale = LONGEST / Math.max(bitmap.width, bitmap.height);
  if (scale >= 1) return bitmap;
  const [resizeWidth, resizeHeight] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side * scale)));
  return createImageBitmap(bitmap, { resizeWidth, resizeHeight, resizeQuality: "high" });
}

const fileOf = (transfer) => [...(transfer?.files ?? [])][0];

/**
 * Files dropped on `target`, pasted anywhere while the room is there, or chosen with `input`.
 * take: called with a file. Returns a function that ends it.
 */
export function watchPictures(target, input, take) {
  const over = (event) => {
    if (![...event.dataTransfer.types].includes("Files")) return;
    event.preventDefault();
    target.classList.toggle("over", event.type !== "dragleave");
  };
  const drop = (event) => {
    const file = fileOf(event.dataTransfer);
    target.classList.remove("over");
    if (!file) return;
    event.preventDefault();
    take(file);
  };
  const paste = (event) => fileOf(event.clipboardData) && take(fileOf(event.clipboardData));
  target.addEventListener("dragover", over);
  target.addEventListener("dragleave", over);
  target.addEventListener("drop", drop);
  document.addEventListener("paste", paste);
  input.addEventListener("change", () => {
    if (fileOf(input)) take(fileOf(input));
    input.value = "";
  });
  return () => document.removeEventListener("paste", paste);
}

/** Whether this browser knows of a camera and may ask for it. */
export async function hasCamera() {
  try {
    return (await navigator.mediaDevices.enumerateDevices()).some((device) => device.kind === "videoinput");
  } catch {
    return false; // no such interface in an insecure page
  }
}

/**
 * A dialog with what the camera sees; resolves to a picture, or to null if it is left.
 * Throws Error(key of a message) if the camera is refused.
 */
export async function takePicture(t) {
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch {
    throw new Error("draw.no-camera");
  }
  const video = make("video", { autoplay: "", playsinline: "", "aria-label": t("draw.camera") });
  video.muted = true;
  video.srcObject = stream;
  const [shoot, leave] = [["main", "draw.shoot"], ["", "draw.cancel"]].map(([kind, key]) =>
    make("button", { type: "button", class: kind }, t(key)),
  );
  const dialog = make("dialog", { class: "camera", "aria-label": t("draw.camera") }, video, make("p", { class: "tools" }, shoot, leave));
  document.body.append(dialog);
  dialog.showModal();
  const picture = await new Promise((resolve) => {
    shoot.addEventListener("click", () => resolve(video.videoWidth ? createImageBitmap(video) : null));
    leave.addEventListener("click", () => resolve(null));
    dialog.addEventListener("close", () => resolve(null));
  });
  for (const track of stream.getTracks()) track.stop();
  dialog.remove();
  return picture;
}
