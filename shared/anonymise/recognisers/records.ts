/** Numbers by which a company or a hospital knows a person: always with the word before them. */
import { after, begin, bounded, nearDigits, type Recogniser } from "../recogniser.ts";
import { isYear } from "./brazil.ts";


const record = String.raw`[A-Z]{0,5}[-/.]?\d[\dA-Z./-]{1,18}[\dA-Z]`;
/** "6.800 pontos" is an amount. */
const isAmount = (value: string) => /^\d{1,3}(?:\.\d{3})+$/.test(value);
const longEnough = (least: number) => (value: string) => value.replace(/\D/g, "").length >= least && !isYear(value) && !isAmount(value);

const patientStrong = "prontuários?(?: (?:médico|eletrônico|digital|hospitalar|clínico|único))?|prontuario(?: (?:medico|eletronico|digital|hospitalar|clinico|unico))?|(?:electronic )?health record|ehr|hospital file|registro hospitalar|registro do paciente|id do paciente|código do paciente|número do paciente|paciente_id|paciente id|patient id|patient number|patient_id|medical record(?: number)?|pront\\.?|pt id|hospital no\\.?|mrn|m\\.r\\.n\\.|hospital number|chart(?: number)?|carteirinha|convênio|número de atendimento|(?<!protocolo de )atendimento|internação|guia|health insurance(?: number)?|member id";
const dealings =
  "pedidos?|order|orders|compra|encomendas?|parcel|shipment|case|protocolos?(?: (?:de atendimento|de abertura|interno|geral))?|protocol|ordem de compra|purchase order|po|tickets?|chamados?|nota fiscal|nf|nf-e|nfe|invoice|invoices|fatura|boleto|rastreio|rastreamento|código de rastreio|tracking|tracking number|reserva|localizador|booking|reservation|apólice|policy|contrato|contract|ordem de serviço|os|matrícula|inscrição|customer id|customer number|cliente|código do cliente|client id|reference|referência|ref|confirmation|assinatura|subscription|sinistro|(?<!exp |iat |nbf |aud |sub |jti |jwt )claim|employee id|crachá|membership|loyalty(?: number)?|fidelidade|instalação|unidade consumidora|account number|serial|série|imei|ticket number|case number|flight|voo|pnr";

export const records: readonly Recogniser[] = [
  { kind: "REGISTRO", pattern: bounded(record, "i"), context: after("licen[cs]e|medical licen[cs]e|bar number|npi|registro profissional"), check: longEnough(4), digits: 1, lead: 6 },
  { kind: "PACIENTE_ID", pattern: bounded(record, "i"), context: after(patientStrong), check: longEnough(3), digits: 1, lead: 6 },
  { kind: "PACIENTE_ID", pattern: bounded(String.raw`(?:MRN|HN|PAC)[-#]?\d[\d-]{3,12}\d`), startsWith: "MRN|HN|PAC" },
  // The second number of a sentence about records: "MRN MR-1234567 was merged with MR-1234568".
  { kind: "PACIENTE_ID", pattern: bounded(String.raw`(?:MRN?|HN|PAC)-?\d{5,10}`), context: nearDigits("mrn|charts?|patients?|pacientes?|prontuários?|medical records?"), digits: 5, lead: 4 },
  // HL7 version 2: the third, fifth and seventh field of a patient's segment. FHIR: the label is the name of the number's system.
  { kind: "PACIENTE_ID", pattern: new RegExp(String.raw`${begin}PID\|\d{0,4}\|[^|\n]{0,40}\|(?<value>[\p{L}\d-]{3,24})`, "gu"), startsWith: "PID" },
  { kind: "NOME", pattern: new RegExp(String.raw`${begin}PID\|(?:[^|\n]{0,80}\|){4}(?<value>\p{L}[\p{L}'’^ -]{1,60}\p{L})`, "gu"), startsWith: "PID" },
  { kind: "DATA", pattern: new RegExp(String.raw`${begin}PID\|(?:[^|\n]{0,80}\|){6}(?<value>(?:19|20)\d{6})`, "gu"), startsWith: "PID" },
  { kind: "PACIENTE_ID", pattern: bounded(record, "i"), context: after(String.raw`(?:mrn|medical-record-number|patient-?id|prontuario)",\s{0,3}"value`), check: longEnough(3), digits: 1, lead: 6 },
  { kind: "PACIENTE_ID", pattern: bounded(record, "i"), context: after("paciente|patient|record|registro|reg\\.?|file number|file no"), check: longEnough(5), digits: 1, lead: 6 },
  { kind: "PEDIDO", pattern: bounded(String.raw`[A-Z]{2}\d{9}[A-Z]{2}`), digits: 9, lead: 2 },
  { kind: "PEDIDO", pattern: bounded(String.raw`(?:ORD|ORDER|PED|PEDIDO|INV|TKT|REQ|CASE|RMA|INC|PROT)[-#_/]\d[\dA-Z/-]{3,18}`), startsWith: "ORD|PED|INV|TKT|REQ|CASE|RMA|INC|PROT" },
  { kind: "PEDIDO", pattern: bounded(record, "i"), context: after(dealings), check: longEnough(4), digits: 1, lead: 6 },
  { kind: "PEDIDO", pattern: bounded(String.raw`(?=[A-Z]{0,8}\d)[A-Z\d]{6,10}`), context: after("localizador|booking reference|booking code|reservation code|pnr|imei|serial"), digits: 1, lead: 8 },
];
