// npm sqs-consumer. Arguments: the queue's URL, `single` or `batch`, and how many instances run side by side.
import { Consumer } from "sqs-consumer";

const [url, kind, instances] = process.argv.slice(2);
const settled = { single: { handleMessage: async (message) => message }, batch: { handleMessageBatch: async (messages) => messages } };
for (let n = 0; n < Number(instances); n++) {
  const consumer = Consumer.create({ queueUrl: url, batchSize: 10, waitTimeSeconds: 20, ...settled[kind] });
  consumer.on("error", (error) => console.error(error));
  consumer.on("processing_error", (error) => console.error(error));
  consumer.start();
}
