// A list of images with one order and without filters: of a job, the doubtful labels and the least sure images.

import { Tiles, tile } from "./tiles.js";

export class ImageList {
  /** list: an empty ul. given: places, and what is said of each. open: enlarges an image. t: texts. */
  constructor(list, items, { items: places, more }, open, t) {
    this.shown = places;
    const said = new Map(places.map((place, i) => [place, more[i]]));
    this.tiles = new Tiles(list, (place) => tile(items, place, (p) => open(places, p, this.back), { t, more: said.get(place) }));
    this.back = (place) => this.tiles.focus(place);
    this.tiles.show(places);
  }
}
