// The script of a report with a playground.

import "../components/page.js";
import { startPlayground } from "./playground.js";

startPlayground();
