/**
 * tfjs's gradients of its own operators. Its core's bundle for Node leaves them out, and only the union package registers them, beside layers and two more
 * backends: 35 MB of heap and 75 MB in all, which whoever differentiates pays and nobody else.
 */
import "@tensorflow/tfjs";
